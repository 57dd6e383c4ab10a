"""The layout of the page: where its Gradio components are placed."""

from typing import Any

import gradio as gr

from tfinvert.studio import events, render
from tfinvert.studio.controls import Choice, Control, Slider
from tfinvert.studio.events import Components, upload_image
from tfinvert.studio.photographs import EXAMPLES, load_example
from tfinvert.studio.state import MAPS
from tfinvert.studio.tabs import MIX, TABS, Tab

_MAX_QUEUE = 64  # waiting requests
_SESSION_SECONDS = 3600
_LEAD = """# tfinvert
See what a visual representation preserves of a photograph, and what it discards.
"""
_PRIVACY = (
    '<p class="privacy">JPEG or PNG. The file of your photograph is deleted within three minutes; '
    "its pixels stay in memory, for this page only, for at most an hour. Links cannot contain your "
    "photograph, only an example.</p>"
)


def build(file_seconds: int = 180) -> gr.Blocks:
    """Builds the page.

    Args:
      file_seconds: maximum age of uploaded files in seconds, after which they are deleted. A file
        must be read within this time.
    """
    max_age = 2 * file_seconds // 3
    check_interval = file_seconds - max_age
    with gr.Blocks(
        title="tfinvert", analytics_enabled=False, delete_cache=(check_interval, max_age)
    ) as page:
        gr.Markdown(_LEAD, elem_classes="lead")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                upload, gallery = _photographs()
            with gr.Column(scale=3, min_width=320):
                components = Components(
                    **_tabs(),
                    **_states(),
                    upload=upload,
                    gallery=gallery,
                    map=_component(MAPS),
                    pictures=gr.HTML(apply_default_css=False, min_height=220, elem_id="pictures"),
                    code=gr.Code(
                        language="python",
                        lines=3,
                        label="Python code",
                        show_line_numbers=False,
                        wrap_lines=True,
                        interactive=False,
                        buttons=["copy"],
                        elem_id="code",
                    ),
                    link=gr.Textbox(label="Link to this view", buttons=["copy"], elem_id="link"),
                    # A Textbox, because the browser cannot read the value of a State.
                    query=gr.Textbox(visible="hidden", container=False),
                )
        events.connect(page, components)
    page.queue(max_size=_MAX_QUEUE, default_concurrency_limit=1)
    return page


def _photographs() -> tuple[gr.Image, gr.Gallery]:
    upload = upload_image(
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
    return upload, gallery


def _tabs() -> dict[str, Any]:
    controls, second = {}, {}
    with gr.Tabs(selected=TABS[0].name) as tabs:
        for tab in TABS:
            with gr.Tab(tab.title, id=tab.name):
                gr.Markdown(tab.description, elem_classes="about")
                for row in _rows(tab):
                    with gr.Row():
                        for control in row:
                            controls[tab.name, control.name] = _component(control)
                if tab.name == MIX:
                    second = _second_photograph()
    return {"tabs": tabs, "controls": controls, **second}


def _rows(tab: Tab) -> list[list[Control]]:
    """Arranges the controls in rows, with radio buttons below the others."""
    radio = [each for each in tab.controls if isinstance(each, Choice) and not each.dropdown]
    others = [each for each in tab.controls if each not in radio]
    return [row for row in (others, radio) if row]


def _second_photograph() -> dict[str, Any]:
    with gr.Row():
        example = gr.Dropdown(
            [(load_example(name).title, name) for name in EXAMPLES],
            value=EXAMPLES[-1],
            label="Second photograph",
            elem_id="second-example",
        )
        upload = upload_image(
            label="Or upload your own",
            sources=["upload", "clipboard"],
            height=110,
            elem_id="second",
        )
    return {"second_example": example, "second_upload": upload}


def _states() -> dict[str, gr.State]:
    return {
        "tab": gr.State(TABS[0].name),
        "example": gr.State(EXAMPLES[0]),
        "photograph": gr.State(None, time_to_live=_SESSION_SECONDS),
        "second_photograph": gr.State(None, time_to_live=_SESSION_SECONDS),
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
    kind = gr.Dropdown if control.dropdown else gr.Radio
    return kind(choices, value=control.default, label=control.label, min_width=260)
