"""What the page shows, as HTML: pictures lie in it, so that no file of them is written."""

import base64
import dataclasses
import html
import io
import json
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np

from tfinvert import metrics
from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.grids import to_pillow, to_uint8
from tfinvert.studio.photographs import Photograph, load_example, load_inverter, required_size
from tfinvert.studio.state import UPLOADED, State
from tfinvert.studio.tabs import MIX, TABS_BY_NAME, TabInput, TabOutput

# The error, mean over colours, that an error map shows as brightest.
_BRIGHTEST = 0.5
_INFERNO = matplotlib.colormaps["inferno"]
UNCERTAINTY = "uncertainty"


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the page.

    Attributes:
      caption: below it.
      pixels: uint8 `[H, W, 3]`.
    """

    caption: str
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedView:
    """What the page shows of a state.

    Attributes:
      pictures: the photograph first, then what is rebuilt.
      figures: how near it is, in a line.
      code: Python that gives `rebuilt`, the second picture.
      card: what made the inverter, where that is what is asked for.
    """

    pictures: tuple[Picture, ...]
    figures: str
    code: str
    card: dict[str, object] | None = None


def render_view(
    state: State, photo: Photograph | None = None, second: Photograph | None = None
) -> RenderedView:
    """Pictures and lines of a state.

    Args:
      state: whose photographs are examples, unless these are given.
      photo: the photograph that was uploaded, if one was.
      second: likewise, to mix with.

    Raises:
      InputError: the inverter cannot do that, or takes no such photograph.
    """
    tab = TABS_BY_NAME[state.tab]
    if tab.bounded:
        name, highest = tab.bounded[0], tab.bounded[1](state.values)
        if state.values[name] > highest:
            (slider,) = (control for control in tab.controls if control.name == name)
            raise InputError(
                f"{name} goes up to {slider.text(highest)} here. "
                f"Received: {slider.text(state.values[name])}"
            )
    name = tab.inverter_of(state.values)
    chosen = load_inverter(name)
    start = f'inverter = tfinvert.load("{name}")'
    if tab.make is None:
        return RenderedView((), "", _script((), (start, "card = inverter.card")), chosen.card)
    photo = photo or _example(state.photograph)
    if state.tab == MIX:
        second = second or _example(state.second)
    size = required_size(name, chosen)
    fitted = photo.fitted(size)
    made = tab.make(TabInput(name, chosen, fitted, second), state.values)
    expression, imports = photo.fitting(str(size or ""))
    code = _script((*imports, *made.imports), (start, f"photo = {expression}", *made.lines))
    target = resize_images(fitted[np.newaxis], made.rebuilt.shape[:2])[0]
    maps = _map(state.map, target, made)
    without = ""
    if state.map == UNCERTAINTY:
        if chosen.uncertainty_head:
            maps = _uncertainty(chosen, fitted, made)
        else:
            without = f" {name} does not tell its uncertainty."
    pictures = [(photo.title, fitted), (made.caption, made.rebuilt), *made.others.items()]
    return RenderedView(
        tuple(Picture(caption, to_uint8(pixels)) for caption, pixels in [*pictures, *maps.items()]),
        _figures(chosen, target, made.rebuilt) + without,
        code,
    )


def _example(name: str) -> Photograph:
    if name == UPLOADED:
        raise InputError("the photograph is no longer held: drop it again, or choose another")
    return load_example(name)


def normalized_error(chosen: Inverter, photo: np.ndarray, rebuilt: np.ndarray) -> float | None:
    """‖x - x̂‖ / N of one photograph, `[H, W, 3]`; None where the card has no N.

    N is that of the photographs which the inverter was evaluated on, as its card says; at another
    size it grows with the root of the number of pixels.
    """
    scale = chosen.card.get("metrics", {}).get("mean_pairwise_distance")
    if not scale:
        return None
    pixels, own = np.prod(photo.shape[:2]), np.prod(chosen.output_size)
    distance = metrics.per_image_distance(photo[np.newaxis], rebuilt[np.newaxis])[0]
    return float(distance / (scale * np.sqrt(pixels / own)))


def _map(kind: str, photo: np.ndarray, made: TabOutput) -> dict[str, np.ndarray]:
    difference = made.rebuilt - photo
    if kind == "difference":
        return {"difference (grey: none)": np.clip((difference + 1) / 2, 0.0, 1.0)}
    if kind == "error":
        error = np.abs(difference).mean(-1) / _BRIGHTEST
        return {f"error (brightest: {_BRIGHTEST:g} or more)": _INFERNO(error)[..., :3]}
    return {}


def _uncertainty(chosen: Inverter, photo: np.ndarray, made: TabOutput) -> dict[str, np.ndarray]:
    """As the error map, what it may be: one deviation, mean over colours."""
    features = chosen.encode(photo[np.newaxis]) if made.features is None else made.features
    height, width = made.rebuilt.shape[:2]
    deviation = chosen.uncertainty(features)[0].mean(-1)[:height, :width]
    colors = _INFERNO(deviation / _BRIGHTEST)[..., :3]
    return {f"uncertainty (brightest: {_BRIGHTEST:g} or more)": colors}


def _figures(chosen: Inverter, photo: np.ndarray, rebuilt: np.ndarray) -> str:
    height, width = rebuilt.shape[:2]
    normalized = normalized_error(chosen, photo, rebuilt)
    return (
        f"{width}×{height} pixels. Mean error of a pixel: {np.abs(rebuilt - photo).mean():.3f} of 1"
        + (f"; normalised error: {normalized:.2f} of N." if normalized is not None else ".")
    )


def _script(imports: Iterable[str], lines: Iterable[str]) -> str:
    """Imports, as the project sorts them, and lines."""
    imports = sorted({"import tfinvert", *imports}, key=_order)
    foreign = [line for line in imports if "tfinvert" not in line]
    own = [line for line in imports if "tfinvert" in line]
    blocks = ("\n".join(block) for block in (foreign, own, lines) if block)
    return "\n\n".join(blocks) + "\n"


def _order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


_SMALL = 128  # pixels of a side below which each is to be seen as a square

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
/* Where the slider ends with the fifth layer, so do their names. */
.gradio-container:has(.layer input[max="4"]) .ticks span:nth-child(n+6) { display: none; }
.layer .tab-like-container, .layer .min_value, .layer .max_value { display: none; }
@media (max-width: 480px) { button[role=tab] { padding: 0 7px !important; font-size: 0.85rem; } }
"""
# The picture's own bytes, which are in the page already.
_DOWNLOAD = "this.href = this.closest('figure').querySelector('img').src"


def view_html(look: RenderedView, notes: tuple[str, ...] = ()) -> str:
    """A look, with lines above it that must be read."""
    parts = [notice_html(line) for line in notes if line]
    if look.card is not None:
        return "".join([*parts, _card(look.card)])
    two = " two" if len(look.pictures) == 2 else ""
    figures = "".join(map(_figure, look.pictures))
    parts += [f'<div class="pictures{two}">{figures}</div>']
    parts += [f'<p class="figures">{html.escape(look.figures)}</p>']
    return "".join(parts)


def tick_labels_html(names: Sequence[str]) -> str:
    """The names of a slider's values, below it."""
    return f'<div class="ticks">{"".join(f"<span>{name}</span>" for name in names)}</div>'


def notice_html(line: str) -> str:
    """A line that must be read."""
    return f'<p class="notice" role="alert">{html.escape(line)}</p>'


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 `[H, W, 3]`, fast rather than small."""
    file = io.BytesIO()
    to_pillow(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _figure(picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    caption = html.escape(picture.caption)
    name = "".join(x if x.isalnum() else "-" for x in picture.caption).strip("-")
    source = f"data:image/png;base64,{base64.b64encode(encode_png(picture.pixels)).decode()}"
    small = ' class="small"' if min(height, width) <= _SMALL else ""
    return (
        f'<figure><img{small} src="{source}" alt="{caption}" width="{width}" height="{height}">'
        f'<figcaption><span>{caption}</span><a href="#" download="{html.escape(name)}.png" '
        f'onclick="{_DOWNLOAD}">PNG</a></figcaption></figure>'
    )


def _card(card: dict[str, object]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key.replace('_', ' '))}</th>"
        f"<td>{html.escape(_text(value))}</td></tr>"
        for key, value in card.items()
    )
    return f'<table class="card">{rows}</table>'


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
