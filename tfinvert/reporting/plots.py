"""Plots as inline SVG, drawn with matplotlib's object interface (no global state, no display)."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, StrMethodFormatter

# Okabe and Ito's colours, told apart with any kind of colour vision.
_BLUE = "#0072B2"
_VERMILION = "#D55E00"
_LINES = (
    (_BLUE, "o"),
    (_VERMILION, "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
)
_INK = "#333333"
# A positive series that spans more than this factor is drawn on a logarithmic axis.
_LOG_RATIO = 10.0
# With more points than this, markers would hide the line.
_MAX_MARKERS = 40

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 11.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#888888",
    "xtick.color": _INK,
    "ytick.color": _INK,
}


class _PlainLogFormatter(LogFormatter):
    """Labels the ticks that LogFormatter would, but as 0.02 rather than 2e-02."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def loss_curve(history: Sequence[Mapping[str, float]]) -> str:
    """Draws how the training loss, and the validation error if there is one, went.

    Args:
        history: One entry per record, in any order, with the keys "step" and "loss" and, in
            some entries, "validation_error" (the normalised reconstruction error). The
            validation error is drawn in a second panel if any entry has it. Values that are
            not finite are left out of the line.

    Returns:
        An `<svg>` element without prolog, DOCTYPE or external references, to be put into an
        HTML page. The same history gives the same text.

    Raises:
        ValueError: If `history` is empty, an entry lacks "step" or "loss", or no loss is finite.
    """
    if not history:
        raise ValueError(f"`history` must have at least one entry. Received: history={history}")
    for entry in history:
        if "step" not in entry or "loss" not in entry:
            raise ValueError(
                f"Every entry of `history` needs 'step' and 'loss'. Received: {dict(entry)}"
            )
    loss = _series(history, "loss")
    if not loss:
        raise ValueError(
            f"`history` must have a finite loss. Received: {len(history)} entries without one"
        )
    validation = _series(history, "validation_error")

    with _style(f"{loss} {validation}"):
        figure = Figure(figsize=(9.6, 3.5) if validation else (6.4, 3.5), layout="constrained")
        panels = figure.subplots(1, 2 if validation else 1, squeeze=False)[0]
        _draw(panels[0], loss, "Training loss", _BLUE)
        if validation:
            _draw(panels[1], validation, "Validation error", _VERMILION)
            # Both panels cover the same steps, or they could not be read side by side.
            limits = [panel.get_xlim() for panel in panels]
            for panel in panels:
                panel.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
        drawn = _svg(figure)
    description = "Training loss and validation error" if validation else "Training loss"
    return _inline(drawn, f"{description} by step")


def line_chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    floor: float = 0.0,
    ticks: Sequence[str] = (),
) -> str:
    """Draws named lines of (x, y) points, told apart by colour, marker and a legend.

    Args:
        lines: From a line's name to its points; at most five lines.
        x: What the x axis shows, with its unit.
        y: Likewise.
        floor: Where the y axis begins.
        ticks: Names of x = 0, 1, 2, …, if they have names.

    Returns:
        An `<svg>` element, as `loss_curve` does.

    Raises:
        ValueError: If there is no line, or more than five.
    """
    if not 1 <= len(lines) <= len(_LINES):
        raise ValueError(f"`lines` must be 1 to {len(_LINES)}. Received: {len(lines)}")
    with _style(f"{lines} {x} {y}"):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for (name, points), (colour, marker) in zip(lines.items(), _LINES):  # noqa: B905
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=name)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=floor)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks, rotation=30)
        _tidy(axes)
        if len(lines) > 1:
            axes.legend(frameon=False)
        drawn = _svg(figure)
    return _inline(drawn, f"{y} by {x}")


def _style(salt: str) -> contextlib.AbstractContextManager[None]:
    # Ids are hashed with a salt. A fixed one per plot keeps the text the same from run to run and
    # keeps two plots in one page from sharing ids.
    return matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"tfinvert {salt}"})


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Metadata would bring a date and links to vocabularies.
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    return buffer.getvalue()


def _tidy(axes: Axes) -> None:
    axes.grid(True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _series(history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    points = []
    for entry in history:
        value = entry.get(key)
        if value is not None and math.isfinite(value):
            points.append((float(entry["step"]), float(value)))
    return sorted(points, key=lambda point: point[0])


def _draw(axes: Axes, points: Sequence[tuple[float, float]], name: str, colour: str) -> None:
    steps, values = zip(*points, strict=True)
    few = len(points) <= _MAX_MARKERS
    axes.plot(steps, values, color=colour, linewidth=1.8, marker="o" if few else None, markersize=4)
    if min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
        axes.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
        axes.set_title(f"{name} (log scale)", loc="left", fontsize=12)
    else:
        axes.set_title(name, loc="left", fontsize=12)
    axes.set_xlabel("Step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _tidy(axes)


def _inline(document: str, description: str) -> str:
    # The prolog and the DOCTYPE belong to a file of its own, not inside HTML.
    svg = document[document.index("<svg") :].strip()
    # Inlined, a style element would apply to the whole page; these properties are inherited.
    svg = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>\s*", "", svg, count=1)
    # Nothing refers to the ids of groups, and they would be the same in every plot.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    style = "stroke-linejoin: round; stroke-linecap: butt"
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}" style="{style}"', 1)
