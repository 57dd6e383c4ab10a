"""What an experiment gives: findings, a table, figures, and what becomes of the paper's claims."""

import dataclasses
from typing import Any

import pandas as pd

from tfinvert.reporting.report import Figure


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
