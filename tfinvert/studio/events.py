"""What happens on the page when something is set, dropped or opened."""

import functools
from typing import Any

import gradio as gr

from tfinvert.errors import InputError
from tfinvert.studio import html
from tfinvert.studio.controls import Value
from tfinvert.studio.looks import look
from tfinvert.studio.parts import Parts
from tfinvert.studio.photographs import EXAMPLES, Photograph, read
from tfinvert.studio.state import UPLOADED, State, from_query
from tfinvert.studio.tabs import BY_NAME, TABS, Tab

_PRIVATE = {"api_visibility": "private"}
# One picture at a time, which takes all cores; what waits for it is replaced by what comes later.
_SHOWING = _PRIVATE | {
    "concurrency_id": "inverters",
    "concurrency_limit": 1,
    "show_progress": "minimal",
    "trigger_mode": "always_last",
}
# What takes no time, and must not wait: the file of an upload is deleted soon.
_QUICK = _PRIVATE | {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
_KEYS = [(tab.name, control.name) for tab in TABS for control in tab.controls]
# The address follows the page; nothing is loaded.
_TO_LINK = """(query) => {
  history.replaceState(null, "", location.pathname + (query ? "?" + query : ""));
  return location.href;
}"""


def connect(page: gr.Blocks, parts: Parts) -> None:
    """Makes the page answer; called where it is built."""
    controls = [parts.controls[key] for key in _KEYS]
    outer = [parts.tab, parts.example, parts.upload, parts.second, parts.second_upload]
    showing = _SHOWING | {
        "fn": _show,
        "inputs": [parts.notice, *outer, parts.map, *controls],
        "outputs": [parts.pictures, parts.code, parts.query, parts.notice],
    }
    linking = {"fn": None, "inputs": [parts.query], "outputs": [parts.link], "js": _TO_LINK}

    def then_show(event: Any) -> None:
        event.then(**showing).then(**linking)

    bounding = _bounding(parts)
    plain = [parts.controls[key].input for key in _KEYS if key not in bounding]
    gr.on([*plain, parts.map.input], **showing).then(**linking)
    for key, (tab, slider) in bounding.items():
        own = [parts.controls[tab.name, control.name] for control in tab.controls]
        bound = functools.partial(_bound, tab)
        event = parts.controls[key].input(bound, own, slider, **_SHOWING)
        then_show(event)
    then_show(parts.tabs.select(_selected_tab, None, parts.tab, **_QUICK))
    then_show(
        parts.gallery.select(_selected_example, None, [parts.example, parts.upload], **_QUICK)
    )
    then_show(parts.second.input(lambda: None, None, parts.second_upload, **_QUICK))
    first = [parts.dropped, parts.upload, parts.example, parts.notice]
    then_show(parts.dropped.input(_receive, first[:-1], first, **_QUICK))
    second = [parts.second_dropped, parts.second_upload, parts.second, parts.notice]
    then_show(parts.second_dropped.input(_receive, second[:-1], second, **_QUICK))
    restored = [parts.tabs, parts.tab, parts.example, parts.gallery, parts.second, parts.map]
    then_show(
        page.load(
            _restore,
            parts.link,
            [parts.notice, *restored, *controls],
            js="() => location.search",
            **_SHOWING,
        )
    )


def _bounding(parts: Parts) -> dict[tuple[str, str], tuple[Tab, gr.Slider]]:
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


def _selected_tab(event: gr.SelectData) -> str:
    return next(tab.name for tab in TABS if tab.title == event.value)


def _selected_example(event: gr.SelectData) -> tuple[str, None]:
    return EXAMPLES[event.index], None


def _receive(path: str | None, upload: Photograph | None, name: str) -> tuple:
    """An empty place to drop the next one, the photograph, no example's name, and a line."""
    if path is None:
        return None, upload, name, ""
    try:
        return None, read(path), UPLOADED, ""
    except InputError as error:
        return None, upload, name, str(error)


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
    tab = BY_NAME[state.tab]
    if tab.bounded:
        name, highest = tab.bounded[0], tab.bounded[1](state.values)
        update = gr.update(maximum=highest, value=state.values[name])
        values[_KEYS.index((tab.name, name))] = update
    return [line, *restored, *values]


def _show(
    line: str,
    tab: str,
    example: str,
    upload: Photograph | None,
    second: str | None,
    second_upload: Photograph | None,
    map: str,
    *values: Value,
) -> tuple[str, dict[str, Any], str, str]:
    """Pictures, Python and link of a state, and that its line is said."""
    own = {name: value for (of, name), value in zip(_KEYS, values, strict=True) if of == tab}
    state = State(tab, own, example, second or UPLOADED, map)
    notes = (line, *(each.note for each in (upload, second_upload) if each))
    try:
        seen = look(state, upload, second_upload)
    except InputError as error:
        wrong = "".join(html.notice(each) for each in (*notes, str(error)) if each)
        return wrong, gr.update(value=""), state.query(), ""
    return html.shown(seen, notes), gr.update(value=seen.code), state.query(), ""
