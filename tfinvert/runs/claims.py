"""The paper's findings in a table: what runs of the experiments say of each."""

import pathlib
from collections.abc import Mapping, Sequence

from tfinvert.errors import InputError
from tfinvert.runs.results import finished
from tfinvert.runs.run_directory import read_flags

_HEAD = ("experiment", "the paper found", "decided by", "here", "confirmed")
_VERDICT = {True: "yes", False: "**no**"}


def claims_page(runs: Mapping[str, str | pathlib.Path]) -> str:
    """A Markdown page with a table for each run: finding, measure, value, confirmed or not.

    Args:
      runs: from what a run is of, for example "AlexNet", to its work directory.

    Raises:
      InputError: a directory holds no experiments, or is damaged.
    """
    parts = [
        "# What the paper found, and what is seen here",
        "Written by `recipes/claims.py`; each number is of an experiment of `recipes/analyze.py`, "
        "whose report has the pictures. The criteria are part of the experiments' code. "
        "± is a standard error.",
    ]
    for label, directory in runs.items():
        directory = pathlib.Path(directory)
        flags = read_flags(directory)
        rows, used = [], {}
        for experiment, result, made_of in finished(directory):
            used |= made_of["inverters"]
            rows += [
                (experiment, claim.finding, claim.measure, claim.value, _VERDICT[claim.holds])
                for claim in result.claims
            ]
        if not rows:
            raise InputError(f"{directory} has no experiment that tests a finding")
        facts = [f"{name} {value}" for name, value in flags.items() if value is not None]
        parts += [f"## {label}", f"Of {', '.join([*facts, *used])}.", _table(rows)]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [_HEAD, ["---"] * len(_HEAD), *escaped])
