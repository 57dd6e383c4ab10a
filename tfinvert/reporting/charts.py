"""Charts of tables, whose columns say what is drawn where."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tfinvert.reporting.plots import MAX_LINES, MAX_ORDERED, dot_chart, line_chart
from tfinvert.reporting.report import Figure

Table = pd.DataFrame | Sequence[Mapping[str, Any]]


def lines(
    table: Table,
    x: str,
    y: str,
    error: str | None = None,
    /,
    *,
    caption: str,
    series: str = "label",
    **words: Any,
) -> Figure:
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


def dots(
    table: Table,
    value: str,
    error: str,
    *,
    thing: str = "label",
    series: str | None = None,
    **words: Any,
) -> Figure:
    """Draws a value with its standard error for each thing, and a marker for each series.

    Args:
      table: a row for each dot, as in `lines`.
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
