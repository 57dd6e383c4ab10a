"""Pictures for papers and pages: one matplotlib figure as SVG text and as pixels.

Drawn with matplotlib's object interface: no global state, no display.
"""

from __future__ import annotations

import contextlib
import io
import re
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's colours, told apart with any kind of colour vision.
LINE_STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#333333", "X"),
)
TEXT_COLOR = "#333333"
_DPI = 160

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 11.0,
    "text.color": TEXT_COLOR,
    "axes.labelcolor": TEXT_COLOR,
    "axes.edgecolor": "#888888",
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
}


def figure_style(salt: str) -> contextlib.AbstractContextManager[None]:
    """How all figures look, within a `with`.

    Args:
      salt: different for two figures of one page: their ids are hashed with it, and so are the same
        from run to run and never shared.
    """
    return matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"tfinvert {salt}"})


def style_axes(axes: Axes) -> None:
    """A faint grid behind the data, and no frame where nothing is read off."""
    axes.grid(True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def render_svg(figure: Figure, description: str) -> str:
    """An `<svg>` element to be put into a page: no prolog, no outside references.

    Args:
      figure: drawn within `figure_style`.
      description: plain text for those who cannot see it.
    """
    buffer = io.StringIO()
    # Metadata would bring a date and links to vocabularies.
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    return _inline(buffer.getvalue(), description)


def render_pixels(figure: Figure, dots: float = _DPI) -> np.ndarray:
    """The same picture on white, uint8 `[height, width, 3]`, at so many dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots, facecolor="white")
    return np.asarray(Image.open(buffer).convert("RGB"))


def _inline(document: str, description: str) -> str:
    # The prolog and the DOCTYPE belong to a file of its own, not inside HTML.
    svg = document[document.index("<svg") :].strip()
    # Inlined, a style element would apply to the whole page; these properties are inherited.
    svg = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>\s*", "", svg, count=1)
    # Nothing refers to the ids of groups, and they would be the same in every plot.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    style = "stroke-linejoin: round; stroke-linecap: butt"
    label = f'role="img" aria-label="{escape(description)}" style="{style}"'
    return svg.replace("<svg", f"<svg {label}", 1)
