"""Charts of tables, whose columns say what is drawn where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, StrMethodFormatter

from tfinvert.reporting import report
from tfinvert.reporting.figure_style import (
    LINE_STYLES,
    figure_style,
    render_pixels,
    render_svg,
    style_axes,
)

# A positive series that spans more than this factor is drawn on a logarithmic axis.
_LOG_RATIO = 10.0
# With more points than this, markers would hide the line.
_MAX_MARKERS = 40
# An ordered family, as the layers of a network, goes from the first to the last of this map's
# colours, whose end is too pale for white paper.
_ORDERED, _PALEST = "viridis", 0.9
# The most lines of a chart, and of an ordered family, that can be told apart.
MAX_LINES, MAX_ORDERED = len(LINE_STYLES), 12

Point = tuple[float, float] | tuple[float, float, float]


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

    with figure_style(f"{loss} {validation}"):
        figure = Figure(figsize=(9.6, 3.5) if validation else (6.4, 3.5), layout="constrained")
        panels = figure.subplots(1, 2 if validation else 1, squeeze=False)[0]
        _draw(panels[0], loss, "Training loss", LINE_STYLES[0][0])
        if validation:
            _draw(panels[1], validation, "Validation error", LINE_STYLES[1][0])
            # Both panels cover the same steps, or they could not be read side by side.
            limits = [panel.get_xlim() for panel in panels]
            for panel in panels:
                panel.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
        description = "Training loss and validation error" if validation else "Training loss"
        return render_svg(figure, f"{description} by step")


def line_chart(
    lines: Mapping[str, Sequence[Point]],
    *,
    title: str,
    caption: str,
    x: str,
    y: str,
    floor: float | None = 0.0,
    ticks: Sequence[str] = (),
    ordered: bool = False,
    log_x: bool = False,
) -> report.Figure:
    """Draws named lines of points, told apart by colour, marker and a legend.

    Args:
        lines: From a line's name to its points (x, y), or (x, y, standard error of y).
        title: Heading of the figure.
        caption: What to see in it.
        x: What the x axis shows, with its unit.
        y: Likewise.
        floor: Where the y axis begins; None leaves it to the data.
        ticks: Names of x = 0, 1, 2, …, if they have names.
        ordered: Whether the lines are a family in order, as layers are: their colours are.
        log_x: Whether the x axis is logarithmic.

    Returns:
        A figure with vector and pixels. The same lines give the same text.

    Raises:
        ValueError: If there is no line, or more than can be told apart: 7, ordered 12.
    """
    looks = _looks(len(lines), ordered)
    with figure_style(f"{lines} {x} {y}"):
        figure = Figure(figsize=(6.8, 4.0), layout="constrained")
        axes = figure.subplots()
        for (name, points), (colour, marker) in zip(lines.items(), looks, strict=True):
            at, value, *error = zip(*points, strict=True)
            axes.errorbar(
                at, value, *error, color=colour, marker=marker, markersize=5, capsize=3, label=name
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(_PlainLogFormatter())
            axes.xaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
        if floor is not None:
            axes.set_ylim(bottom=floor)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks, rotation=30)
        elif not log_x and all(float(at).is_integer() for own in lines.values() for at, *_ in own):
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        style_axes(axes)
        return _finished(figure, axes, len(lines), title, caption, f"{y} by {x}")


def dot_chart(
    series: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    title: str,
    caption: str,
    x: str,
    ordered: bool = False,
) -> report.Figure:
    """Draws values of named things, one line of dots for each thing, a marker for each series.

    Args:
        series: From a series' name to the value and standard error of each thing; a thing that a
            series lacks has no dot there. Things are listed as they come.
        title: Heading of the figure.
        caption: What to see in it.
        x: What the values are, with their unit.
        ordered: As `line_chart`.

    Returns:
        A figure with vector and pixels.

    Raises:
        ValueError: As `line_chart`.
    """
    looks = _looks(len(series), ordered)
    things = list(dict.fromkeys(thing for values in series.values() for thing in values))
    with figure_style(f"{series} {x}"):
        figure = Figure(figsize=(6.8, 1.3 + 0.34 * len(things)), layout="constrained")
        axes = figure.subplots()
        for i, ((name, values), (colour, marker)) in enumerate(
            zip(series.items(), looks, strict=True)
        ):
            # Beside each other within a thing's line, or equal values would hide each other.
            offset = 0.5 * ((i + 0.5) / len(series) - 0.5)
            places = [things.index(thing) + offset for thing in values]
            value, error = zip(*values.values(), strict=True)
            axes.errorbar(
                value,
                places,
                xerr=error,
                linestyle="none",
                color=colour,
                marker=marker,
                markersize=5,
                capsize=2,
                label=name,
            )
        axes.set_yticks(range(len(things)), things)
        axes.set_ylim(len(things) - 0.5, -0.5)
        axes.set_xlabel(x)
        style_axes(axes)
        return _finished(figure, axes, len(series), title, caption, x, outside=True)


def path_chart(
    paths: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    title: str,
    caption: str,
    x: str,
    y: str,
) -> report.Figure:
    """Draws named paths through named points, to see what is paid for what.

    Args:
        paths: From a path's name to its points (x, y, name), in the order of the path.
        title: Heading of the figure.
        caption: What to see in it.
        x: What the x axis shows, with its unit.
        y: Likewise.

    Returns:
        A figure with vector and pixels. The same paths give the same text.

    Raises:
        ValueError: As `line_chart`.
    """
    looks = _looks(len(paths), ordered=False)
    with figure_style(f"{paths} {x} {y}"):
        figure = Figure(figsize=(6.8, 4.8), layout="constrained")
        axes = figure.subplots()
        for (name, points), (colour, marker) in zip(paths.items(), looks, strict=True):
            at, value, names = zip(*points, strict=True)
            axes.plot(at, value, color=colour, marker=marker, linewidth=1.0, label=name)
            for *place, text in zip(at, value, names, strict=True):
                axes.annotate(
                    text, place, (4, -13), textcoords="offset points", fontsize=9, color=colour
                )
        axes.margins(0.14)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        style_axes(axes)
        return _finished(figure, axes, len(paths), title, caption, f"{y} by {x}")


def _looks(count: int, ordered: bool) -> Sequence[tuple[str, str]]:
    """Colour and marker of each line."""
    most = MAX_ORDERED if ordered else MAX_LINES
    if not 1 <= count <= most:
        raise ValueError(f"a chart must have 1 to {most} lines. Received: {count}")
    if not ordered:
        return LINE_STYLES[:count]
    colours = matplotlib.colormaps[_ORDERED]
    return [
        (
            matplotlib.colors.to_hex(colours(_PALEST * i / max(count - 1, 1))),
            LINE_STYLES[i % len(LINE_STYLES)][1],
        )
        for i in range(count)
    ]


def _finished(
    figure: Figure,
    axes: Axes,
    count: int,
    title: str,
    caption: str,
    description: str,
    outside: bool = False,
) -> report.Figure:
    if count > 4 or (outside and count > 1):
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif count > 1:
        axes.legend(frameon=False)
    svg, image = render_svg(figure, description), render_pixels(figure)
    return report.Figure(title, caption, image=image, svg=svg)


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
    style_axes(axes)


Table = pd.DataFrame | Sequence[Mapping[str, Any]]


def table_line_chart(
    table: Table,
    x: str,
    y: str,
    error: str | None = None,
    /,
    *,
    caption: str,
    series: str = "label",
    **words: Any,
) -> report.Figure:
    """Draws y by x, a line for each value of a column, the first of them, as many as can be told.

    Args:
      table: a row for each point; one without x or y has none. Rows may be a list of dicts.
      x: the column that is drawn from left to right.
      y: the column that is drawn upwards.
      error: that of the standard error of y.
      caption: what to see; it also says how many lines are left out.
      series: the column that tells lines apart, which are a family in order.
      words: as `line_chart` takes them: "title", "x" and "y", what the axes show, and others.
    """
    table = pd.DataFrame(table).dropna(subset=[x, y])
    names = table[series].unique()
    most = MAX_ORDERED if words.get("ordered", True) else MAX_LINES
    rest = len(names) - most
    columns = [x, y, *([error] if error else [])]
    return line_chart(
        {
            name: list(table.loc[table[series] == name, columns].itertuples(index=False, name=None))
            for name in names[:most]
        },
        caption=caption + (f" The last {rest} are left out." if rest > 0 else ""),
        **{"ordered": True, **words},
    )


def table_dot_chart(
    table: Table,
    value: str,
    error: str,
    *,
    thing: str = "label",
    series: str | None = None,
    **words: Any,
) -> report.Figure:
    """Draws a value with its standard error for each thing, and a marker for each series.

    Args:
      table: a row for each dot, as in `table_line_chart`.
      value: the column that is drawn.
      error: that of its standard error.
      thing: the column of what is listed.
      series: that of the series, of a family in order the first twelve; None for one.
      words: as `dot_chart` takes them.
    """
    table = pd.DataFrame(table)
    groups = table.groupby(series, sort=False) if series else [(value, table)]
    dots_of = {
        name: dict(zip(own[thing], zip(own[value], own[error], strict=True), strict=True))
        for name, own in groups
    }
    most = MAX_ORDERED if words.get("ordered") else None
    return dot_chart(dict(itertools.islice(dots_of.items(), most)), **words)
