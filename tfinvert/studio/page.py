"""The page: where Gradio's components stand; `events` says what they do."""

from typing import Any

import gradio as gr

from tfinvert.studio import events, render
from tfinvert.studio.controls import Choice, Control, Slider
from tfinvert.studio.events import Components, upload_image
from tfinvert.studio.photographs import EXAMPLES, load_example
from tfinvert.studio.state import MAPS
from tfinvert.studio.tabs import MIX, TABS, Tab

_PEOPLE = 64  # that wait, at most
_SESSION_SECONDS = 3600
_LEAD = """# tfinvert
What a visual representation keeps of a photograph, and what it throws away.
"""
_PRIVACY = (
    '<p class="privacy">JPEG or PNG. Your photograph is read, its file deleted within three '
    "minutes, its pixels held in memory for this page alone, an hour at most. A link cannot hold "
    "it: links are to the examples.</p>"
)


def build(file_seconds: int = 180) -> gr.Blocks:
    """The page, to be launched.

    Args:
      file_seconds: within which the file of an upload is deleted; it is read when its turn comes.
    """
    age = 2 * file_seconds // 3  # looked at as often as makes up the rest
    cleaning = (file_seconds - age, age)
    with gr.Blocks(title="tfinvert", analytics_enabled=False, delete_cache=cleaning) as page:
        gr.Markdown(_LEAD, elem_classes="lead")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                dropped, gallery = _photographs()
            with gr.Column(scale=3, min_width=320):
                parts = Components(
                    **_tabs(),
                    **_states(),
                    dropped=dropped,
                    gallery=gallery,
                    map=_component(MAPS),
                    pictures=gr.HTML(apply_default_css=False, min_height=220, elem_id="pictures"),
                    code=gr.Code(
                        language="python",
                        lines=3,
                        label="The same in Python",
                        show_line_numbers=False,
                        wrap_lines=True,
                        interactive=False,
                        buttons=["copy"],
                        elem_id="code",
                    ),
                    link=gr.Textbox(label="Link to this", buttons=["copy"], elem_id="link"),
                    # Where the browser can read it, which a State's value never reaches.
                    query=gr.Textbox(visible="hidden", container=False),
                )
        events.connect(page, parts)
    page.queue(max_size=_PEOPLE, default_concurrency_limit=1)
    return page


def _photographs() -> tuple[gr.Image, gr.Gallery]:
    dropped = upload_image(
        label="Photograph",
        sources=["upload", "webcam", "clipboard"],
        height=200,
        elem_id="photograph",
    )
    gallery = gr.Gallery(
        [load_example(name).pixels for name in EXAMPLES],
        show_label=False,
        format="jpeg",
        columns=4,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        selected_index=0,
        buttons=[],
        elem_id="examples",
    )
    gr.HTML(_PRIVACY, apply_default_css=False)
    return dropped, gallery


def _tabs() -> dict[str, Any]:
    controls, found = {}, {}
    with gr.Tabs(selected=TABS[0].name) as tabs:
        for tab in TABS:
            with gr.Tab(tab.title, id=tab.name):
                gr.Markdown(tab.about, elem_classes="about")
                for row in _rows(tab):
                    with gr.Row():
                        for control in row:
                            controls[tab.name, control.name] = _component(control)
                if tab.name == MIX:
                    found = _second()
    return {"tabs": tabs, "controls": controls, **found}


def _rows(tab: Tab) -> list[list[Control]]:
    """Radio buttons below the rest."""
    low = [each for each in tab.controls if isinstance(each, Choice) and not each.many]
    high = [each for each in tab.controls if each not in low]
    return [row for row in (high, low) if row]


def _second() -> dict[str, Any]:
    with gr.Row():
        second = gr.Dropdown(
            [(load_example(name).title, name) for name in EXAMPLES],
            value=EXAMPLES[-1],
            label="Second photograph",
            elem_id="second-example",
        )
        dropped = upload_image(
            label="Or one of yours",
            sources=["upload", "clipboard"],
            height=110,
            elem_id="second",
        )
    return {"second": second, "second_dropped": dropped}


def _states() -> dict[str, gr.State]:
    return {
        "tab": gr.State(TABS[0].name),
        "example": gr.State(EXAMPLES[0]),
        "upload": gr.State(None, time_to_live=_SESSION_SECONDS),
        "second_upload": gr.State(None, time_to_live=_SESSION_SECONDS),
        "notice": gr.State(""),
    }


def _component(control: Control) -> gr.components.Component:
    if isinstance(control, Slider):
        with gr.Column(min_width=260):
            slider = gr.Slider(
                control.low,
                control.high,
                value=control.default,
                step=1,
                label=control.label,
                buttons=[],
                elem_id=f"slider-{control.name}",
                elem_classes="layer" if control.names else None,
            )
            if control.names:
                gr.HTML(render.tick_labels_html(control.names), apply_default_css=False)
        return slider
    choices = [(label, value) for value, label in control.options.items()]
    kind = gr.Dropdown if control.many else gr.Radio
    return kind(choices, value=control.default, label=control.label, min_width=260)
