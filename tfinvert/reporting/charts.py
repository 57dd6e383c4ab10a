"""Line, dot and path charts, from points or from the columns of a table."""

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

# Positive series that span more than this factor are drawn on a logarithmic axis.
_LOG_RATIO = 10.0
# Lines with more points are drawn without markers, which would hide them.
_MAX_MARKERS = 40
# The colour map of an ordered series, such as the layers of a network; the end of the map is too
# pale on white and is not used.
_COLORMAP, _COLORMAP_END = "viridis", 0.9
# The largest number of distinguishable lines in a chart, unordered and ordered.
MAX_LINES, MAX_ORDERED = len(LINE_STYLES), 12

Point = tuple[float, float] | tuple[float, float, float]


class _PlainLogFormatter(LogFormatter):
    """Labels the ticks that LogFormatter labels, as 0.02 rather than 2e-02."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def loss_curve(history: Sequence[Mapping[str, float]]) -> str:
    """Draws the training loss and, if recorded, the validation error over the steps.

    Args:
      history: one entry per record, in any order, with the keys "step" and "loss" and, in some
        entries, "validation_error" (the normalised reconstruction error). The validation error
        is drawn in a second panel if any entry has it. Non-finite values are omitted.

    Returns:
      An `<svg>` element without prolog, DOCTYPE or external references, to be embedded in an
      HTML page. The text is deterministic.

    Raises:
      ValueError: `history` is empty, an entry lacks "step" or "loss", or no loss is finite.
    """
    if not history:
        raise ValueError(f"`history` must have at least one entry. Received: history={history}")
    for entry in history:
        if "step" not in entry or "loss" not in entry:
            raise ValueError(
                f"Every entry of `history` needs 'step' and 'loss'. Received: {dict(entry)}"
            )
    loss = _finite_points(history, "loss")
    if not loss:
        raise ValueError(
            f"`history` must have a finite loss. Received: {len(history)} entries without one"
        )
    validation = _finite_points(history, "validation_error")

    with figure_style(f"{loss} {validation}"):
        figure = Figure(figsize=(9.6, 3.5) if validation else (6.4, 3.5), layout="constrained")
        panels = figure.subplots(1, 2 if validation else 1, squeeze=False)[0]
        _draw_panel(panels[0], loss, "Training loss", LINE_STYLES[0][0])
        if validation:
            _draw_panel(panels[1], validation, "Validation error", LINE_STYLES[1][0])
            # Both panels cover the same steps, so that they can be compared.
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
    """Draws named lines, distinguished by colour, marker and a legend.

    Args:
      lines: maps a line's name to its points (x, y), or (x, y, standard error of y).
      title: heading of the figure.
      caption: description of the figure.
      x: label of the x axis, with its unit.
      y: label of the y axis, with its unit.
      floor: lower limit of the y axis; None chooses it from the data.
      ticks: labels of x = 0, 1, 2, …; empty for numbers.
      ordered: whether the lines form an ordered series, such as layers, and get ordered colours.
      log_x: whether the x axis is logarithmic.

    Returns:
      A figure as SVG and as pixels. The SVG is deterministic.

    Raises:
      ValueError: there are no lines, or more than are distinguishable (7, or 12 ordered).
    """
    styles = _line_styles(len(lines), ordered)
    with figure_style(f"{lines} {x} {y}"):
        figure = Figure(figsize=(6.8, 4.0), layout="constrained")
        axes = figure.subplots()
        for (name, points), (color, marker) in zip(lines.items(), styles, strict=True):
            positions, values, *errors = zip(*points, strict=True)
            axes.errorbar(
                positions,
                values,
                *errors,
                color=color,
                marker=marker,
                markersize=5,
                capsize=3,
                label=name,
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
        elif not log_x and all(
            float(position).is_integer() for points in lines.values() for position, *_ in points
        ):
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        style_axes(axes)
        return _finish_figure(figure, axes, len(lines), title, caption, f"{y} by {x}")


def dot_chart(
    series: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    title: str,
    caption: str,
    x: str,
    ordered: bool = False,
) -> report.Figure:
    """Draws a row of dots per item, with a marker per series.

    Args:
      series: maps the name of a series to the value and standard error of each item; an item that
        is missing from a series has no dot there. Rows are in order of first occurrence.
      title: heading of the figure.
      caption: description of the figure.
      x: label of the values, with their unit.
      ordered: see `line_chart`.

    Returns:
      A figure as SVG and as pixels.

    Raises:
      ValueError: see `line_chart`.
    """
    styles = _line_styles(len(series), ordered)
    items = list(dict.fromkeys(item for values in series.values() for item in values))
    with figure_style(f"{series} {x}"):
        figure = Figure(figsize=(6.8, 1.3 + 0.34 * len(items)), layout="constrained")
        axes = figure.subplots()
        for i, ((name, values), (color, marker)) in enumerate(
            zip(series.items(), styles, strict=True)
        ):
            # Dots of different series are offset within a row, so that equal values stay visible.
            offset = 0.5 * ((i + 0.5) / len(series) - 0.5)
            rows = [items.index(item) + offset for item in values]
            means, errors = zip(*values.values(), strict=True)
            axes.errorbar(
                means,
                rows,
                xerr=errors,
                linestyle="none",
                color=color,
                marker=marker,
                markersize=5,
                capsize=2,
                label=name,
            )
        axes.set_yticks(range(len(items)), items)
        axes.set_ylim(len(items) - 0.5, -0.5)
        axes.set_xlabel(x)
        style_axes(axes)
        return _finish_figure(figure, axes, len(series), title, caption, x, legend_outside=True)


def path_chart(
    paths: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    title: str,
    caption: str,
    x: str,
    y: str,
) -> report.Figure:
    """Draws named paths through labelled points, to show a trade-off between two quantities.

    Args:
      paths: maps a path's name to its points (x, y, label), in the order of the path.
      title: heading of the figure.
      caption: description of the figure.
      x: label of the x axis, with its unit.
      y: label of the y axis, with its unit.

    Returns:
      A figure as SVG and as pixels. The SVG is deterministic.

    Raises:
      ValueError: see `line_chart`.
    """
    styles = _line_styles(len(paths), ordered=False)
    with figure_style(f"{paths} {x} {y}"):
        figure = Figure(figsize=(6.8, 4.8), layout="constrained")
        axes = figure.subplots()
        for (name, points), (color, marker) in zip(paths.items(), styles, strict=True):
            positions, values, labels = zip(*points, strict=True)
            axes.plot(positions, values, color=color, marker=marker, linewidth=1.0, label=name)
            for *point, label in zip(positions, values, labels, strict=True):
                axes.annotate(
                    label, point, (4, -13), textcoords="offset points", fontsize=9, color=color
                )
        axes.margins(0.14)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        style_axes(axes)
        return _finish_figure(figure, axes, len(paths), title, caption, f"{y} by {x}")


def _line_styles(count: int, ordered: bool) -> Sequence[tuple[str, str]]:
    """Returns the colour and marker of each line."""
    limit = MAX_ORDERED if ordered else MAX_LINES
    if not 1 <= count <= limit:
        raise ValueError(f"a chart must have 1 to {limit} lines. Received: {count}")
    if not ordered:
        return LINE_STYLES[:count]
    colormap = matplotlib.colormaps[_COLORMAP]
    return [
        (
            matplotlib.colors.to_hex(colormap(_COLORMAP_END * i / max(count - 1, 1))),
            LINE_STYLES[i % len(LINE_STYLES)][1],
        )
        for i in range(count)
    ]


def _finish_figure(
    figure: Figure,
    axes: Axes,
    count: int,
    title: str,
    caption: str,
    description: str,
    legend_outside: bool = False,
) -> report.Figure:
    if count > 4 or (legend_outside and count > 1):
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    elif count > 1:
        axes.legend(frameon=False)
    svg, image = render_svg(figure, description), render_pixels(figure)
    return report.Figure(title, caption, image=image, svg=svg)


def _finite_points(history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    points = []
    for entry in history:
        value = entry.get(key)
        if value is not None and math.isfinite(value):
            points.append((float(entry["step"]), float(value)))
    return sorted(points, key=lambda point: point[0])


def _draw_panel(axes: Axes, points: Sequence[tuple[float, float]], name: str, color: str) -> None:
    steps, values = zip(*points, strict=True)
    marker = "o" if len(points) <= _MAX_MARKERS else None
    axes.plot(steps, values, color=color, linewidth=1.8, marker=marker, markersize=4)
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
    **options: Any,
) -> report.Figure:
    """Draws the `line_chart` of table columns, with a line for each value of a column.

    Only as many lines are drawn as can be distinguished.

    Args:
      table: a data frame or list of dictionaries with a row per point; rows without x or y are
        skipped.
      x: column of the x coordinates.
      y: column of the y coordinates.
      error: column of the standard errors of y; None for no error bars.
      caption: description of the figure, to which the number of omitted lines is added.
      series: column whose values name the lines, which are ordered by default.
      options: other arguments of `line_chart`; "title", "x" and "y" are required.
    """
    table = pd.DataFrame(table).dropna(subset=[x, y])
    names = table[series].unique()
    limit = MAX_ORDERED if options.get("ordered", True) else MAX_LINES
    num_omitted = len(names) - limit
    columns = [x, y, *([error] if error else [])]
    return line_chart(
        {
            name: list(table.loc[table[series] == name, columns].itertuples(index=False, name=None))
            for name in names[:limit]
        },
        caption=caption + (f" The last {num_omitted} are omitted." if num_omitted > 0 else ""),
        **{"ordered": True, **options},
    )


def table_dot_chart(
    table: Table,
    value: str,
    error: str,
    *,
    item: str = "label",
    series: str | None = None,
    **options: Any,
) -> report.Figure:
    """Draws the `dot_chart` of table columns: a value with its standard error per item and series.

    Args:
      table: a data frame or list of dictionaries with a row per dot.
      value: column of the values.
      error: column of the standard errors.
      item: column of the item names.
      series: column of the series names; None for a single series. Of an ordered series only the
        first twelve are drawn.
      options: other arguments of `dot_chart`.
    """
    table = pd.DataFrame(table)
    groups = table.groupby(series, sort=False) if series else [(value, table)]
    dots = {
        name: dict(zip(own[item], zip(own[value], own[error], strict=True), strict=True))
        for name, own in groups
    }
    limit = MAX_ORDERED if options.get("ordered") else None
    return dot_chart(dict(itertools.islice(dots.items(), limit)), **options)
