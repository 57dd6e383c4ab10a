"""The components of the page that `page` makes and `events` connects."""

import dataclasses
from typing import Any

import gradio as gr


@dataclasses.dataclass
class Parts:
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


def upload(**options: Any) -> gr.Image:
    """A place for an image, which is handed on as the file it came in: Gradio does not open it.

    Args:
      **options: of `gr.Image`.
    """
    image = gr.Image(type="filepath", buttons=[], **options)
    # Of the object: of a subclass Gradio would write a file beside this one.
    image.preprocess = lambda payload: payload and payload.path
    return image
