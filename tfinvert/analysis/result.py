"""What an experiment gives: findings, a table, figures, and what becomes of the paper's claims.

Of its table a row is a dict of facts and numbers, as JSON values, with the same keys in every row.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tfinvert.analysis.inverters import inverter_kind, inverter_labels, layer_name
from tfinvert.inverter import Inverter
from tfinvert.reporting.report import Figure

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something the paper found, and the numbers that test it here.

    Attributes:
      finding: the paper's, in a few words.
      measure: which number decides, and from where on it confirms.
      value: what was measured, with units and standard errors.
      holds: whether it is confirmed.
    """

    finding: str
    measure: str
    value: str
    holds: bool


@dataclasses.dataclass(frozen=True)
class Result:
    """One experiment's outcome.

    Attributes:
      title: what was asked, as a heading.
      lead: one paragraph: what was done, on what.
      findings: plain sentences with numbers.
      rows: of one table, with the same keys, as JSON values.
      figures: pictures, in the order of the findings.
      claims: of the paper that these inverters and images could test.
    """

    title: str
    lead: str
    findings: list[str]
    rows: list[dict[str, Any]]
    figures: list[Figure]
    claims: list[Claim] = dataclasses.field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """The rows, in which whole numbers stay whole where some are missing."""
        return pd.DataFrame(self.rows).convert_dtypes()


def inverter_columns(name: str, inverter: Inverter) -> dict[str, str]:
    """What a row says of the inverter it is about: "inverter", "layer" and "kind"."""
    return {"inverter": name, "layer": layer_name(inverter), "kind": inverter_kind(inverter)}


def add_labels(rows: Iterable[Row], inverters: Mapping[str, Inverter]) -> list[dict[str, Any]]:
    """Rows with `inverter_columns` and what findings, charts and claims also ask of it, which is not kept.

    That is "label", what pictures call the inverter, and "axes", how many its feature has: 1 of
    fully connected layers, 3 of grids.
    """
    called = inverter_labels(inverters)
    return [
        {
            **row,
            "label": called[row["inverter"]],
            "axes": len(inverters[row["inverter"]].feature.spec.shape),
        }
        for row in rows
    ]


def format_rows(rows: Iterable[Row] | pd.DataFrame, template: str, separator: str = ", ") -> str:
    """Rows as text, for example with "{label} {error:.3f}"; fields are columns."""
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    return separator.join(template.format_map(row) for row in rows)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of `[n]` independent values; 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_columns(columns: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """The columns of `mean_and_error`."""
    return dict(zip(columns, mean_and_error(values), strict=True))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of `[n]` independent values."""
    return float(values.mean()), standard_error(values)
