"""The style of matplotlib figures, and their rendering as SVG text and as pixels.

Figures use matplotlib's object interface: no global state, no display.
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

# Colour and marker of each line: Okabe and Ito's palette, safe for colour-blind readers.
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
    """Context manager that applies the style of all figures.

    Args:
      salt: hashed into the ids of the SVG elements, which are therefore deterministic; it must
        differ between the figures of a page, so that they share no id.
    """
    return matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"tfinvert {salt}"})


def style_axes(axes: Axes) -> None:
    """Adds a faint grid behind the data and removes the top and right spines."""
    axes.grid(True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def render_svg(figure: Figure, description: str) -> str:
    """Renders an `<svg>` element for embedding in HTML: no prolog, no external references.

    Args:
      figure: a figure drawn within `figure_style`.
      description: alternative text for screen readers.
    """
    buffer = io.StringIO()
    # The default metadata contain a date and links to vocabularies.
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    return _inline(buffer.getvalue(), description)


def render_pixels(figure: Figure, dpi: float = _DPI) -> np.ndarray:
    """Renders the figure on white: uint8 `[height, width, 3]`, at `dpi` dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return np.asarray(Image.open(buffer).convert("RGB"))


def _inline(document: str, description: str) -> str:
    # The prolog and the DOCTYPE are valid only in a separate file.
    svg = document[document.index("<svg") :].strip()
    # An embedded style element would apply to the whole page; these properties are inherited.
    svg = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>\s*", "", svg, count=1)
    # The ids of groups are not referenced, and would be equal in every plot.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    style = "stroke-linejoin: round; stroke-linecap: butt"
    label = f'role="img" aria-label="{escape(description)}" style="{style}"'
    return svg.replace("<svg", f"<svg {label}", 1)
