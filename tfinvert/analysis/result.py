"""What an experiment gives: findings, a table and figures."""

import dataclasses
from typing import Any

from tfinvert.reporting.report import Figure


@dataclasses.dataclass(frozen=True)
class Result:
    """One experiment's outcome.

    Attributes:
      title: what was asked, as a heading.
      lead: one paragraph: what was done, on what.
      findings: plain sentences with numbers.
      rows: of one table, with the same keys, as JSON values.
      figures: pictures, in the order of the findings.
    """

    title: str
    lead: str
    findings: list[str]
    rows: list[dict[str, Any]]
    figures: list[Figure]
