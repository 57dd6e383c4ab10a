"""Tables of measurements, the shape that all experiments share: rows of facts and numbers.

A row is a dict of JSON values, with the same keys in every row of a table. `Result.table` gives
them as a DataFrame.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.analysis.inverters import kind, labels, layer_of
from tfinvert.inverter import Inverter

Row = Mapping[str, Any]


def facts(name: str, inverter: Inverter) -> dict[str, str]:
    """What a row says of the inverter it is about: "inverter", "layer" and "kind"."""
    return {"inverter": name, "layer": layer_of(inverter), "kind": kind(inverter)}


def labelled(rows: Iterable[Row], inverters: Mapping[str, Inverter]) -> list[dict[str, Any]]:
    """Rows with what findings, charts and claims ask of the inverter, which is not kept.

    Args:
      rows: with `facts`.
      inverters: by name.

    Returns:
      The same with "label", what pictures call the inverter, and "axes", how many its feature has:
      1 of fully connected layers, 3 of grids.
    """
    called = labels(inverters)
    return [
        {
            **row,
            "label": called[row["inverter"]],
            "axes": len(inverters[row["inverter"]].feature.spec.shape),
        }
        for row in rows
    ]


def listed(rows: Iterable[Row], template: str, separator: str = ", ") -> str:
    """Rows as text, for example with "{label} {error:.3f}"; fields are columns."""
    return separator.join(template.format_map(row) for row in rows)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of `[n]` independent values; 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def measured(columns: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """The columns of `mean_error`."""
    return dict(zip(columns, mean_error(values), strict=True))


def mean_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of `[n]` independent values."""
    return float(values.mean()), standard_error(values)
