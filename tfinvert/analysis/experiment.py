"""Experiments: what is measured, which findings of the paper it tests, and how it is presented.

An experiment is one file of `tfinvert/analysis/experiments/`, with the name of the experiment. It
has `measure`, `present` and the declaration `EXPERIMENT`; the claims it tests are a function of
`tfinvert/analysis/claims.py`. The first line of its docstring is its description.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tfinvert.errors import InputError
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter
from tfinvert.reporting.report import Figure

# Columns that describe an inverter for figures and claims, and are not saved.
UNSAVED = ("label", "axes")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A finding of the paper, and the numbers that test it.

    Attributes:
      finding: the finding, in a few words.
      measure: the number that decides, and the threshold from which on it confirms the finding.
      value: the measured values, with units and standard errors.
      holds: whether the finding is confirmed.
    """

    finding: str
    measure: str
    value: str
    holds: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Measurement:
    """Numbers from which claims are judged and figures are drawn.

    Attributes:
      table: the numbers that are saved, in snake_case columns; the standard error of a column has
        the column's name and `_se`. The columns `UNSAVED` are for figures and claims alone.
      arrays: further numbers and pictures, by name.
      facts: counts and settings that sentences state, by name.

    Raises:
      ValueError: a column is not in snake_case.
    """

    table: pd.DataFrame
    arrays: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the columns."""
        wrong = [x for x in self.table.columns if not re.fullmatch(r"[a-z][a-z0-9_]*", str(x))]
        if wrong:
            raise ValueError(f"columns must be in snake_case. Received: {wrong}")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The saved columns as JSON values, with None where a value is missing."""
        saved = self.table.drop(columns=list(UNSAVED), errors="ignore")
        return [
            {key: None if pd.isna(value) else value for key, value in row.items()}
            for row in saved.to_dict("records")
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class Presentation:
    """Text and figures that present a measurement.

    Attributes:
      title: a heading.
      lead: one paragraph on the method and the data.
      findings: sentences with numbers.
      figures: pictures and charts, in the order of the findings.
    """

    title: str
    lead: str
    findings: list[str]
    figures: list[Figure]


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of an experiment, as it is saved and reported.

    Attributes:
      title: a heading.
      lead: one paragraph on the method and the data.
      findings: sentences with numbers.
      rows: of one table, with the same keys, as JSON values.
      figures: pictures and charts, in the order of the findings.
      claims: the findings of the paper that these inverters and images test.
    """

    title: str
    lead: str
    findings: list[str]
    rows: list[dict[str, Any]]
    figures: list[Figure]
    claims: list[Claim] = dataclasses.field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a table, in which integer columns with missing values stay integers."""
        return pd.DataFrame(self.rows).convert_dtypes()


class Exhibit(NamedTuple):
    """A section of the gallery, with pictures of one experiment.

    Attributes:
      order: position in the gallery.
      heading: heading of the section.
      figure: prefix of the titles of its figures.
      text: a few sentences on what is done and what can be seen.
      finding: prefix of the claim that belongs to it; empty without one.
      chosen: which of the figures with that prefix are shown.
    """

    order: int
    heading: str
    figure: str
    text: str
    finding: str = ""
    chosen: slice = slice(1)

    def figures(self, result: Result) -> list[Figure]:
        """The figures of a result that the section shows."""
        return [x for x in result.figures if x.title.startswith(self.figure)][self.chosen]

    def claim(self, result: Result) -> Claim | None:
        """The claim of a result that belongs to the section."""
        claims = (x for x in result.claims if self.finding and x.finding.startswith(self.finding))
        return next(claims, None)


def _accept_all(name: str, inverter: Inverter) -> None:
    del name, inverter


def _no_claims(measurement: Measurement) -> list[Claim]:
    del measurement
    return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """The declaration of an experiment.

    Attributes:
      order: position in reports and documents.
      default_inverters: names of the shipped inverters it takes by default.
      measure: `(inverters, images, **settings)` gives a `Measurement`. Inverters are by name, from
        the first layer to the last; images are `[n, H, W, 3]` in [0, 1], of the size the features
        take. Common settings are `seed`, a random seed, and `cache`, a `ResultCache`.
      present: presents a measurement.
      judge: tests findings of the paper on a measurement.
      check: `(name, inverter)` raises `InputError` for an inverter that the experiment cannot take.
      changes_photographs: whether it takes features of other images than the photographs, such as
        changed ones, which features that were computed elsewhere lack.
      exhibits: its sections of the gallery.
      documentation: a page of `docs/` about it, for example "privacy.md".
      on_request: whether it runs only when it is named, and is no part of `--experiment=all`.
    """

    order: int
    default_inverters: Sequence[str]
    measure: Callable[..., Measurement]
    present: Callable[[Measurement], Presentation]
    judge: Callable[[Measurement], list[Claim]] = _no_claims
    check: Callable[[str, Inverter], None] = _accept_all
    changes_photographs: bool = False
    exhibits: Sequence[Exhibit] = ()
    documentation: str = ""
    on_request: bool = False

    def check_inverter(self, name: str, inverter: Inverter) -> None:
        """Checks that the experiment can take an inverter.

        Raises:
          InputError: it cannot.
        """
        if self.changes_photographs and isinstance(inverter.feature, StoredFeature):
            raise InputError(
                "the experiment takes features of changed photographs, but those of "
                f"{inverter.feature.name} were computed elsewhere, for the photographs in a file; "
                f"leave the inverter out. Received: {name}"
            )
        self.check(name, inverter)

    def accepts(self, name: str, inverter: Inverter) -> bool:
        """True if the experiment can take an inverter, which `check_inverter` decides."""
        try:
            self.check_inverter(name, inverter)
        except InputError:
            return False
        return True

    def run(
        self,
        inverters: Mapping[str, Inverter],
        images: np.ndarray,
        settings: Mapping[str, Any] | None = None,
    ) -> Result:
        """Measures, judges and presents.

        Args:
          inverters: by name, from the first layer to the last.
          images: `[n, H, W, 3]` in [0, 1], of the size the features take.
          settings: keyword arguments of `measure`. Those that it does not have are ignored, so that
            several experiments can be given the same settings.

        Raises:
          InputError: an inverter, the images or a setting are not suitable.
        """
        for name, inverter in inverters.items():
            self.check_inverter(name, inverter)
        known = inspect.signature(self.measure).parameters
        chosen = {key: value for key, value in (settings or {}).items() if key in known}
        measurement = self.measure(dict(inverters), images, **chosen)
        shown = self.present(measurement)
        return Result(
            shown.title,
            shown.lead,
            shown.findings,
            measurement.rows,
            shown.figures,
            self.judge(measurement),
        )


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows with the same keys as a table, in which None is a missing value.

    Columns of integers stay integers where values are missing; other numbers are float64.
    """
    table = pd.DataFrame(list(rows), dtype=object)
    for column in table.columns:
        given = [value for value in table[column] if value is not None]
        if given and all(isinstance(value, int | float) for value in given):
            whole = all(isinstance(value, int) for value in given)
            kind = ("int64" if len(given) == len(table) else "Int64") if whole else "float64"
            table[column] = table[column].astype(kind)
    return table
