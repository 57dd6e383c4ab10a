"""What the page shows, as HTML: pictures lie in it, so that no file of them is written."""

import base64
import html
import io
import json
from collections.abc import Sequence

import numpy as np

from tfinvert.reporting.grids import to_pillow
from tfinvert.studio.looks import Look, Picture

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


def shown(look: Look, notes: tuple[str, ...] = ()) -> str:
    """A look, with lines above it that must be read."""
    parts = [notice(line) for line in notes if line]
    if look.card is not None:
        return "".join([*parts, _card(look.card)])
    two = " two" if len(look.pictures) == 2 else ""
    figures = "".join(map(_figure, look.pictures))
    parts += [f'<div class="pictures{two}">{figures}</div>']
    parts += [f'<p class="figures">{html.escape(look.figures)}</p>']
    return "".join(parts)


def ticks(names: Sequence[str]) -> str:
    """The names of a slider's values, below it."""
    return f'<div class="ticks">{"".join(f"<span>{name}</span>" for name in names)}</div>'


def notice(line: str) -> str:
    """A line that must be read."""
    return f'<p class="notice" role="alert">{html.escape(line)}</p>'


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 `[H, W, 3]`, fast rather than small."""
    file = io.BytesIO()
    to_pillow(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _figure(picture: Picture) -> str:
    height, width = picture.pixels.shape[:2]
    caption = html.escape(picture.caption)
    name = "".join(x if x.isalnum() else "-" for x in picture.caption).strip("-")
    source = f"data:image/png;base64,{base64.b64encode(png(picture.pixels)).decode()}"
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
