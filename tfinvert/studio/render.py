"""Renders a state of the page: pictures, error figures and Python code, also as HTML.

Pictures are embedded in the HTML, so none of them is written to a file.
"""

import base64
import dataclasses
import html
import io
import json
from collections.abc import Iterable, Sequence

import numpy as np

from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.comparison import MAP_MAXIMUM, color_map, normalized_error
from tfinvert.reporting.grids import to_pillow, to_uint8
from tfinvert.studio.photographs import Photograph, load_example, load_inverter, required_size
from tfinvert.studio.state import UPLOADED, State
from tfinvert.studio.tabs import MIX, TABS_BY_NAME, Tab, TabInput, TabOutput, Values

UNCERTAINTY = "uncertainty"
_MIN_SMOOTH_SIDE = 128  # pixels; smaller pictures are enlarged without smoothing

STYLE = """
.gradio-container { max-width: 1240px !important; margin: 0 auto; }
.lead h1 { margin: 0; font-size: 1.5rem; }
.lead p { margin: 0.25rem 0 0; }
.about p { margin: 0; }
.pictures { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr));
  align-items: start; }
.pictures.two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.pictures figure { margin: 0; }
.pictures img { width: 100%; height: auto; display: block; border-radius: 4px; }
.pictures img.small { image-rendering: pixelated; }
.pictures figcaption { display: flex; gap: 10px; justify-content: space-between;
  font-size: 0.85rem; line-height: 1.4; padding-top: 4px; }
.pictures a { color: var(--link-text-color); text-decoration: underline; }
.figures, .privacy { font-size: 0.85rem; line-height: 1.4; margin: 10px 0 0; opacity: 0.75; }
.notice { margin: 0 0 10px; padding: 8px 12px; border-left: 4px solid #c2410c; border-radius: 4px;
  background: var(--background-fill-secondary); }
.notice, .figures, .privacy, .pictures, .card { color: var(--body-text-color); }
.card { width: 100%; border-collapse: collapse; font-size: 0.9rem; line-height: 1.4; }
.card th, .card td { text-align: left; vertical-align: top; padding: 4px 8px;
  border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere; }
.card th { width: 34%; font-weight: 500; }
#examples, #examples * { min-height: 0; }
#examples .grid-wrap { height: auto; max-height: none; overflow: visible; }
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px;
  grid-template-rows: none; grid-auto-rows: auto; }
#examples .thumbnail-item { width: 100%; min-width: 0; aspect-ratio: 1; }
.ticks { display: flex; justify-content: space-between; font-size: 0.68rem; opacity: 0.75;
  margin: -12px 0 0; color: var(--body-text-color); }
/* A slider that ends at the fifth layer shows the first five names only. */
.gradio-container:has(.layer input[max="4"]) .ticks span:nth-child(n+6) { display: none; }
.layer .tab-like-container, .layer .min_value, .layer .max_value { display: none; }
@media (max-width: 480px) { button[role=tab] { padding: 0 7px !important; font-size: 0.85rem; } }
"""
# The browser downloads the picture's bytes from the page.
_DOWNLOAD = "this.href = this.closest('figure').querySelector('img').src"


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture with its caption.

    Attributes:
      caption: text below the picture.
      pixels: uint8 `[H, W, 3]`.
    """

    caption: str
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedView:
    """Everything that the page shows for a state.

    Attributes:
      pictures: the photograph, its reconstruction, and further pictures.
      figures: size and errors of the reconstruction, in one line.
      code: Python code that computes `reconstruction`, the second picture.
      card: the inverter's card, on the tab that shows it.
    """

    pictures: tuple[Picture, ...]
    figures: str
    code: str
    card: dict[str, object] | None = None


def render_view(
    state: State, photo: Photograph | None = None, second: Photograph | None = None
) -> RenderedView:
    """Computes the pictures, figures and code for a state.

    Args:
      state: the settings of the page.
      photo: the uploaded photograph; None for the state's example.
      second: the uploaded second photograph (tab "mix"); None for the state's second example.

    Raises:
      InputError: a setting is invalid for the inverter, or the inverter does not accept the
        photograph.
    """
    tab = TABS_BY_NAME[state.tab]
    _check_slider_limit(tab, state.values)
    name = tab.inverter_name(state.values)
    inverter = load_inverter(name)
    load_line = f'inverter = tfinvert.load("{name}")'
    if tab.compute is None:
        return RenderedView((), "", _script((), (load_line, "card = inverter.card")), inverter.card)
    photo = photo or _load_example(state.photograph)
    if state.tab == MIX:
        second = second or _load_example(state.second)
    size = required_size(name, inverter)
    pixels = photo.resize(size)
    output = tab.compute(TabInput(name, inverter, pixels, second), state.values)
    expression, imports = photo.resize_code(str(size or ""))
    code = _script((*imports, *output.imports), (load_line, f"photo = {expression}", *output.lines))
    target = resize_images(pixels[np.newaxis], output.reconstruction.shape[:2])[0]
    maps = _error_map(state.map, target, output)
    remark = ""
    if state.map == UNCERTAINTY:
        if inverter.uncertainty_head:
            maps = _uncertainty_map(inverter, pixels, output)
        else:
            remark = f" {name} does not predict uncertainty."
    pictures = [
        (photo.title, pixels),
        (output.caption, output.reconstruction),
        *output.others.items(),
        *maps.items(),
    ]
    return RenderedView(
        tuple(Picture(caption, to_uint8(each)) for caption, each in pictures),
        _figures(inverter, target, output.reconstruction) + remark,
        code,
    )


def view_html(view: RenderedView, notes: tuple[str, ...] = ()) -> str:
    """Formats a view as HTML, with notices above it.

    Args:
      view: the view.
      notes: texts of the notices; empty ones are omitted.
    """
    parts = [notice_html(note) for note in notes if note]
    if view.card is not None:
        return "".join([*parts, _card_html(view.card)])
    two = " two" if len(view.pictures) == 2 else ""
    pictures = "".join(map(_picture_html, view.pictures))
    parts += [f'<div class="pictures{two}">{pictures}</div>']
    parts += [f'<p class="figures">{html.escape(view.figures)}</p>']
    return "".join(parts)


def tick_labels_html(names: Sequence[str]) -> str:
    """Formats the names of a slider's values, which are shown below it."""
    return f'<div class="ticks">{"".join(f"<span>{name}</span>" for name in names)}</div>'


def notice_html(text: str) -> str:
    """Formats a notice."""
    return f'<p class="notice" role="alert">{html.escape(text)}</p>'


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 `[H, W, 3]` as PNG, with fast rather than strong compression."""
    file = io.BytesIO()
    to_pillow(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _check_slider_limit(tab: Tab, values: Values) -> None:
    if tab.slider_limit is None:
        return
    name, maximum = tab.slider_limit[0], tab.slider_limit[1](values)
    if values[name] > maximum:
        (slider,) = (control for control in tab.controls if control.name == name)
        raise InputError(
            f"{name} must be at most {slider.text(maximum)} with these settings. "
            f"Received: {slider.text(values[name])}"
        )


def _load_example(name: str) -> Photograph:
    if name == UPLOADED:
        raise InputError("the uploaded photograph has expired; upload it again")
    return load_example(name)


def _error_map(kind: str, photo: np.ndarray, output: TabOutput) -> dict[str, np.ndarray]:
    difference = output.reconstruction - photo
    if kind == "difference":
        return {"difference (grey: zero)": np.clip((difference + 1) / 2, 0.0, 1.0)}
    if kind == "error":
        caption = f"absolute error (brightest: {MAP_MAXIMUM:g} or more)"
        return {caption: color_map(np.abs(difference))}
    return {}


def _uncertainty_map(
    inverter: Inverter, photo: np.ndarray, output: TabOutput
) -> dict[str, np.ndarray]:
    """Maps the predicted standard deviation, mean over colours, to the error map's colours."""
    features = inverter.encode(photo[np.newaxis]) if output.features is None else output.features
    height, width = output.reconstruction.shape[:2]
    std = inverter.uncertainty(features)[0, :height, :width]
    return {f"uncertainty (brightest: {MAP_MAXIMUM:g} or more)": color_map(std)}


def _figures(inverter: Inverter, photo: np.ndarray, reconstruction: np.ndarray) -> str:
    height, width = reconstruction.shape[:2]
    mean_error = np.abs(reconstruction - photo).mean()
    normalized = normalized_error(inverter, photo, reconstruction)
    return f"{width}×{height} pixels. Mean absolute error: {mean_error:.3f} (range 0 to 1)" + (
        f"; normalised error: {normalized:.2f} N." if normalized is not None else "."
    )


def _script(imports: Iterable[str], lines: Iterable[str]) -> str:
    """Joins imports, sorted as in this project, and lines."""
    imports = sorted({"import tfinvert", *imports}, key=_import_order)
    third_party = [line for line in imports if "tfinvert" not in line]
    first_party = [line for line in imports if "tfinvert" in line]
    blocks = ("\n".join(block) for block in (third_party, first_party, lines) if block)
    return "\n\n".join(blocks) + "\n"


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _picture_html(picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    caption = html.escape(picture.caption)
    name = "".join(x if x.isalnum() else "-" for x in picture.caption).strip("-")
    source = f"data:image/png;base64,{base64.b64encode(encode_png(picture.pixels)).decode()}"
    small = ' class="small"' if min(height, width) <= _MIN_SMOOTH_SIDE else ""
    return (
        f'<figure><img{small} src="{source}" alt="{caption}" width="{width}" height="{height}">'
        f'<figcaption><span>{caption}</span><a href="#" download="{html.escape(name)}.png" '
        f'onclick="{_DOWNLOAD}">PNG</a></figcaption></figure>'
    )


def _card_html(card: dict[str, object]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key.replace('_', ' '))}</th>"
        f"<td>{html.escape(_card_text(value))}</td></tr>"
        for key, value in card.items()
    )
    return f'<table class="card">{rows}</table>'


def _card_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_card_text(each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
