"""The components of the page, and the event handlers that connect them."""

import dataclasses
import functools
from typing import Any

import gradio as gr

from tfinvert.errors import InputError
from tfinvert.studio import render
from tfinvert.studio.controls import Value
from tfinvert.studio.photographs import EXAMPLES, Photograph, read_photograph
from tfinvert.studio.state import UPLOADED, State, from_query
from tfinvert.studio.tabs import MIX, TABS, TABS_BY_NAME, Tab

# One computation at a time, because each uses all cores; a later request replaces a waiting one.
_EVENT_OPTIONS = {
    "concurrency_id": "inverters",
    "concurrency_limit": 1,
    "show_progress": "minimal",
    "trigger_mode": "always_last",
    "api_visibility": "private",
}
_CONTROL_KEYS = [(tab.name, control.name) for tab in TABS for control in tab.controls]
# The components of a state besides the tabs' controls, in the order of `_update`'s parameters.
_COMMON = ("tab", "example", "photograph", "second_example", "second_photograph", "map")
# Writes the state to the address bar without loading anything.
_UPDATE_ADDRESS = """(query) => {
  history.replaceState(null, "", location.pathname + (query ? "?" + query : ""));
  return location.href;
}"""


@dataclasses.dataclass
class Components:
    """The components of the page that have events or are changed by events.

    Attributes:
      tab: name of the selected tab.
      example: name of the selected example, or `UPLOADED`.
      photograph: the uploaded `Photograph`, or None.
      second_example: name of the second example (tab "mix"), or `UPLOADED`.
      second_photograph: the second uploaded `Photograph` (tab "mix"), or None.
      map: kind of map beside the reconstruction.
      notice: text to be shown once.
      controls: (tab name, control name) → component.
      tabs: container of the tabs.
      upload: upload area for a photograph.
      second_upload: upload area for the second photograph.
      gallery: the examples.
      pictures: the pictures as HTML.
      code: the Python code.
      query: the state as a query string.
      link: the link to the state.
    """

    tab: gr.State
    example: gr.State
    photograph: gr.State
    second_example: gr.Dropdown
    second_photograph: gr.State
    map: gr.Radio
    notice: gr.State
    controls: dict[tuple[str, str], gr.components.Component]
    tabs: gr.Tabs
    upload: gr.Image
    second_upload: gr.Image
    gallery: gr.Gallery
    pictures: gr.HTML
    code: gr.Code
    query: gr.Textbox
    link: gr.Textbox


def upload_image(**options: Any) -> gr.Image:
    """Creates an image component whose value is the path of the uploaded file.

    Gradio does not decode the file.

    Args:
      **options: arguments of `gr.Image`.
    """
    image = gr.Image(type="filepath", buttons=[], **options)
    # Set on the instance: for a subclass, Gradio would write a stub file next to its module.
    image.preprocess = lambda payload: payload and payload.path
    return image


def connect(page: gr.Blocks, components: Components) -> None:
    """Connects the events of the components; called inside the page's `with` block.

    Where possible, an event computes and shows its result in one call: each call takes a tenth of a
    second.
    """
    controls = [components.controls[key] for key in _CONTROL_KEYS]
    inputs = [components.notice, *(getattr(components, name) for name in _COMMON), *controls]
    outputs = [components.pictures, components.code, components.query, components.notice]
    update_link = {
        "fn": None,
        "inputs": [components.query],
        "outputs": [components.link],
        "js": _UPDATE_ADDRESS,
    }

    limiting = _limiting_controls(components)
    others = [components.controls[key].input for key in _CONTROL_KEYS if key not in limiting]
    gr.on([*others, components.map.input], _update, inputs, outputs, **_EVENT_OPTIONS).then(
        **update_link
    )
    for key, (tab, slider) in limiting.items():
        tab_controls = [components.controls[tab.name, control.name] for control in tab.controls]
        event = components.controls[key].input(
            functools.partial(_limit_slider, tab), tab_controls, slider, **_EVENT_OPTIONS
        )
        event.then(_update, inputs, outputs, **_EVENT_OPTIONS).then(**update_link)
    components.tabs.select(_select_tab, inputs, [components.tab, *outputs], **_EVENT_OPTIONS).then(
        **update_link
    )
    components.gallery.select(
        _select_example,
        inputs,
        [components.example, components.photograph, *outputs],
        **_EVENT_OPTIONS,
    ).then(**update_link)
    components.second_example.input(
        _select_second_example, inputs, [components.second_photograph, *outputs], **_EVENT_OPTIONS
    ).then(**update_link)
    for upload, photograph, example in (
        ("upload", "photograph", "example"),
        ("second_upload", "second_photograph", "second_example"),
    ):
        changed = [getattr(components, name) for name in (upload, photograph, example)]
        changed[0].input(
            functools.partial(_receive_upload, photograph, example),
            [changed[0], *inputs],
            [*changed, *outputs],
            **_EVENT_OPTIONS,
        ).then(**update_link)
    restored = [
        components.notice,
        components.tabs,
        components.tab,
        components.example,
        components.gallery,
        components.second_example,
        components.map,
        *controls,
    ]
    page.load(
        _restore, components.link, restored, js="() => location.search", **_EVENT_OPTIONS
    ).then(_update, inputs, outputs, **_EVENT_OPTIONS).then(**update_link)


def _limiting_controls(components: Components) -> dict[tuple[str, str], tuple[Tab, gr.Slider]]:
    """Finds the choices that may change a slider's maximum, with their tab and that slider."""
    limiting = {}
    for tab in TABS:
        if tab.slider_limit:
            slider = components.controls[tab.name, tab.slider_limit[0]]
            for control in tab.controls:
                key = tab.name, control.name
                if isinstance(components.controls[key], gr.Dropdown | gr.Radio):
                    limiting[key] = tab, slider
    return limiting


def _limit_slider(tab: Tab, *values: Value) -> dict[str, Any]:
    """Updates a slider's maximum, and its value where that exceeds the maximum."""
    values = {control.name: value for control, value in zip(tab.controls, values, strict=True)}
    name, maximum = tab.slider_limit[0], tab.slider_limit[1](values)
    return gr.update(maximum=maximum, value=min(values[name], maximum))


def _select_tab(event: gr.SelectData, notice: str, tab: str, *inputs: Any) -> tuple:
    tab = next(each.name for each in TABS if each.title == event.value)
    return tab, *_update(notice, tab, *inputs)


def _select_example(event: gr.SelectData, notice: str, *inputs: Any) -> tuple:
    selected = {"example": EXAMPLES[event.index], "photograph": None}
    return *selected.values(), *_update(notice, *_replace_common(inputs, **selected))


def _select_second_example(notice: str, *inputs: Any) -> tuple:
    return None, *_update(notice, *_replace_common(inputs, second_photograph=None))


def _receive_upload(
    photograph: str, example: str, path: str | None, notice: str, *inputs: Any
) -> tuple:
    """Reads an uploaded file, empties the upload area and deselects the example.

    An unreadable file only adds a notice.
    """
    changes = {}
    if path is not None:
        try:
            changes = {photograph: read_photograph(path), example: None}
        except InputError as error:
            notice = str(error)
    inputs = _replace_common(inputs, **changes)
    current = (inputs[_COMMON.index(name)] for name in (photograph, example))
    return None, *current, *_update(notice, *inputs)


def _replace_common(inputs: tuple, **changes: Any) -> tuple:
    """Replaces some of the `_COMMON` values at the beginning of the inputs."""
    common = dict(zip(_COMMON, inputs, strict=False)) | changes
    return *common.values(), *inputs[len(_COMMON) :]


def _restore(query: str) -> list[Any]:
    """Returns a notice, and the values of all components that are part of a link."""
    try:
        state, notice = from_query(query), ""
    except InputError as error:
        state, notice = State(), f"Invalid link: {error}"
    index = EXAMPLES.index(state.photograph)
    restored = [gr.Tabs(selected=state.tab), state.tab, state.photograph]
    restored += [gr.Gallery(selected_index=index), state.second, state.map]
    tab_values = {(state.tab, name): value for name, value in state.values.items()}
    values = [tab_values.get(key, gr.skip()) for key in _CONTROL_KEYS]
    tab = TABS_BY_NAME[state.tab]
    if tab.slider_limit:
        name, maximum = tab.slider_limit[0], tab.slider_limit[1](state.values)
        update = gr.update(maximum=maximum, value=state.values[name])
        values[_CONTROL_KEYS.index((tab.name, name))] = update
    return [notice, *restored, *values]


def _update(
    notice: str,
    tab: str,
    example: str | None,
    photograph: Photograph | None,
    second_example: str | None,
    second_photograph: Photograph | None,
    map: str,
    *values: Value,
) -> tuple[str, dict[str, Any], str, str]:
    """Returns the pictures, code and query string of a state, and an empty notice."""
    settings = zip(_CONTROL_KEYS, values, strict=True)
    tab_values = {name: value for (key_tab, name), value in settings if key_tab == tab}
    state = State(tab, tab_values, example or UPLOADED, second_example or UPLOADED, map)
    photographs = (photograph, second_photograph if tab == MIX else None)
    notes = (notice, *(each.note for each in photographs if each))
    try:
        view = render.render_view(state, *photographs)
    except InputError as error:
        notices = "".join(render.notice_html(note) for note in (*notes, str(error)) if note)
        return notices, gr.update(value=""), state.query(), ""
    return render.view_html(view, notes), gr.update(value=view.code), state.query(), ""
