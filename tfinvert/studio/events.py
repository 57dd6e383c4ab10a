"""What happens on the page when something is set, dropped or opened."""

import dataclasses
import functools
from typing import Any

import gradio as gr

from tfinvert.errors import InputError
from tfinvert.studio import render
from tfinvert.studio.controls import Value
from tfinvert.studio.photographs import EXAMPLES, Photograph, read_photograph
from tfinvert.studio.render import render_view
from tfinvert.studio.state import UPLOADED, State, from_query
from tfinvert.studio.tabs import MIX, TABS, TABS_BY_NAME, Tab


@dataclasses.dataclass
class Components:
    """The components that events are about.

    Attributes:
      tab: name of the tab that is shown.
      example: name of the example that is shown, or `UPLOADED`.
      upload: the photograph that was uploaded, or None.
      second: name of the example to mix with.
      second_upload: likewise the photograph that was uploaded.
      map: which map stands beside the reconstruction.
      notice: a line to be shown once.
      controls: by the names of a tab and of its control.
      tabs: what the tabs lie in.
      dropped: where a photograph is dropped.
      second_dropped: likewise, the one to mix with.
      gallery: the examples.
      pictures: the result, as HTML.
      code: the result, as Python.
      query: the state, as in a link.
      link: the link.
    """

    tab: gr.State
    example: gr.State
    upload: gr.State
    second: gr.Dropdown
    second_upload: gr.State
    map: gr.Radio
    notice: gr.State
    controls: dict[tuple[str, str], gr.components.Component]
    tabs: gr.Tabs
    dropped: gr.Image
    second_dropped: gr.Image
    gallery: gr.Gallery
    pictures: gr.HTML
    code: gr.Code
    query: gr.Textbox
    link: gr.Textbox


def upload_image(**options: Any) -> gr.Image:
    """A place for an image, which is handed on as the file it came in: Gradio does not open it.

    Args:
      **options: of `gr.Image`.
    """
    image = gr.Image(type="filepath", buttons=[], **options)
    # Of the object: of a subclass Gradio would write a file beside this one.
    image.preprocess = lambda payload: payload and payload.path
    return image


# One picture at a time, which takes all cores; what waits for it is replaced by what comes later.
_ONE = {
    "concurrency_id": "inverters",
    "concurrency_limit": 1,
    "show_progress": "minimal",
    "trigger_mode": "always_last",
    "api_visibility": "private",
}
_KEYS = [(tab.name, control.name) for tab in TABS for control in tab.controls]
# What a state is made of beside the controls of the tabs, in the order of `_show`'s arguments.
_OUTER = ("tab", "example", "upload", "second", "second_upload", "map")
# The address follows the page; nothing is loaded.
_TO_LINK = """(query) => {
  history.replaceState(null, "", location.pathname + (query ? "?" + query : ""));
  return location.href;
}"""


def connect(page: gr.Blocks, parts: Components) -> None:
    """Makes the page answer; called where it is built.

    Each event but the first is one call, which also shows what comes of it: a call costs a tenth of
    a second.
    """
    controls = [parts.controls[key] for key in _KEYS]
    given = [parts.notice, *(getattr(parts, name) for name in _OUTER), *controls]
    shown = [parts.pictures, parts.code, parts.query, parts.notice]
    linking = {"fn": None, "inputs": [parts.query], "outputs": [parts.link], "js": _TO_LINK}

    bounding = _bounding(parts)
    plain = [parts.controls[key].input for key in _KEYS if key not in bounding]
    gr.on([*plain, parts.map.input], _show, given, shown, **_ONE).then(**linking)
    for key, (tab, slider) in bounding.items():
        own = [parts.controls[tab.name, control.name] for control in tab.controls]
        bound = functools.partial(_bound, tab)
        event = parts.controls[key].input(bound, own, slider, **_ONE)
        event.then(_show, given, shown, **_ONE).then(**linking)
    parts.tabs.select(_select_tab, given, [parts.tab, *shown], **_ONE).then(**linking)
    chosen = [parts.example, parts.upload]
    parts.gallery.select(_select_example, given, [*chosen, *shown], **_ONE).then(**linking)
    parts.second.input(_select_second, given, [parts.second_upload, *shown], **_ONE).then(**linking)
    for dropped, upload, example in (
        ("dropped", "upload", "example"),
        ("second_dropped", "second_upload", "second"),
    ):
        place = getattr(parts, dropped)
        changed = [place, getattr(parts, upload), getattr(parts, example)]
        receive = functools.partial(_receive, upload, example)
        place.input(receive, [place, *given], [*changed, *shown], **_ONE).then(**linking)
    restored = [parts.tabs, parts.tab, parts.example, parts.gallery, parts.second, parts.map]
    page.load(
        _restore,
        parts.link,
        [parts.notice, *restored, *controls],
        js="() => location.search",
        **_ONE,
    ).then(_show, given, shown, **_ONE).then(**linking)


def _bounding(parts: Components) -> dict[tuple[str, str], tuple[Tab, gr.Slider]]:
    """The choices that the highest value of a slider depends on, with their tab and that slider."""
    found = {}
    for tab in TABS:
        if tab.bounded:
            slider = parts.controls[tab.name, tab.bounded[0]]
            found |= {
                (tab.name, control.name): (tab, slider)
                for control in tab.controls
                if isinstance(parts.controls[tab.name, control.name], gr.Dropdown | gr.Radio)
            }
    return found


def _bound(tab: Tab, *values: Value) -> dict[str, Any]:
    """The slider with another highest value."""
    own = {control.name: value for control, value in zip(tab.controls, values, strict=True)}
    name, highest = tab.bounded[0], tab.bounded[1](own)
    return gr.update(maximum=highest, value=min(own[name], highest))


def _select_tab(event: gr.SelectData, line: str, tab: str, *others: Any) -> tuple:
    tab = next(each.name for each in TABS if each.title == event.value)
    return tab, *_show(line, tab, *others)


def _select_example(event: gr.SelectData, line: str, *given: Any) -> tuple:
    chosen = {"example": EXAMPLES[event.index], "upload": None}
    return *chosen.values(), *_show(line, *_with(given, **chosen))


def _select_second(line: str, *given: Any) -> tuple:
    return None, *_show(line, *_with(given, second_upload=None))


def _receive(upload: str, example: str, path: str | None, line: str, *given: Any) -> tuple:
    """An empty place to drop the next one, the photograph, no example's name, and what is shown."""
    changed = {}
    if path is not None:
        try:
            changed = {upload: read_photograph(path), example: None}
        except InputError as error:
            line = str(error)
    given = _with(given, **changed)
    kept = (given[_OUTER.index(name)] for name in (upload, example))
    return None, *kept, *_show(line, *given)


def _with(given: tuple, **changed: Any) -> tuple:
    """What a state is made of, with other values of some of `_OUTER`."""
    outer = dict(zip(_OUTER, given, strict=False)) | changed
    return *outer.values(), *given[len(_OUTER) :]


def _restore(query: str) -> list[Any]:
    """A line, and the values of all components that a link tells of."""
    try:
        state, line = from_query(query), ""
    except InputError as error:
        state, line = State(), f"This link cannot be followed: {error}"
    at = EXAMPLES.index(state.photograph)
    restored = [gr.Tabs(selected=state.tab), state.tab, state.photograph]
    restored += [gr.Gallery(selected_index=at), state.second, state.map]
    own = {(state.tab, name): value for name, value in state.values.items()}
    values = [own.get(key, gr.skip()) for key in _KEYS]
    tab = TABS_BY_NAME[state.tab]
    if tab.bounded:
        name, highest = tab.bounded[0], tab.bounded[1](state.values)
        update = gr.update(maximum=highest, value=state.values[name])
        values[_KEYS.index((tab.name, name))] = update
    return [line, *restored, *values]


def _show(
    line: str,
    tab: str,
    example: str | None,
    upload: Photograph | None,
    second: str | None,
    second_upload: Photograph | None,
    map: str,
    *values: Value,
) -> tuple[str, dict[str, Any], str, str]:
    """Pictures, Python and link of a state, and that its line is said."""
    own = {name: value for (of, name), value in zip(_KEYS, values, strict=True) if of == tab}
    state = State(tab, own, example or UPLOADED, second or UPLOADED, map)
    used = (upload, second_upload if tab == MIX else None)
    notes = (line, *(each.note for each in used if each))
    try:
        seen = render_view(state, *used)
    except InputError as error:
        wrong = "".join(render.notice_html(each) for each in (*notes, str(error)) if each)
        return wrong, gr.update(value=""), state.query(), ""
    return render.view_html(seen, notes), gr.update(value=seen.code), state.query(), ""
