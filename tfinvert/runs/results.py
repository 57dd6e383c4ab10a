"""Results of experiments as directories, and a page of the claims they test."""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tfinvert.analysis.experiment import Claim, Result
from tfinvert.common.files import ESCAPE, atomic_directory, write_json, write_text
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.errors import InputError, first_line
from tfinvert.reporting.grids import write_png
from tfinvert.reporting.report import Figure
from tfinvert.runs.run_directory import read_flags

RESULTS, TABLE = "results.json", "results.csv"
_CLAIM_COLUMNS = ("experiment", "the paper found", "decided by", "here", "confirmed")
_VERDICT = {True: "yes", False: "**no**"}
_PROLOG = '<?xml version="1.0" encoding="utf-8"?>\n'


def save_result(path: pathlib.Path, result: Result, **facts: Any) -> None:
    """Writes a result as a directory, completely or not at all.

    It has `results.json`, the rows as `results.csv`, and each figure in the formats it has:
    `01-title.svg`, `.png` and `.gif`.

    Args:
      path: a directory that does not exist yet.
      result: the result.
      facts: further JSON values.
    """
    with atomic_directory(path) as directory:
        figures = []
        for number, figure in enumerate(result.figures, 1):
            stem = f"{number:02}-{slug(figure.title)}"
            figures.append({"title": figure.title, "caption": figure.caption, "file": stem})
            if figure.svg is not None:
                write_text(directory / f"{stem}.svg", f"{_PROLOG}{figure.svg}\n")
            if figure.gif is not None:
                (directory / f"{stem}.gif").write_bytes(figure.gif)
            if figure.image is not None:
                write_png(directory / f"{stem}.png", figure.image)
        values = {
            "title": result.title,
            "lead": result.lead,
            "findings": result.findings,
            "claims": [vars(claim) for claim in result.claims],
            "rows": result.rows,
            "figures": figures,
            **facts,
        }
        result.table.to_csv(directory / TABLE, index=False, errors=ESCAPE)
        write_json(directory / RESULTS, values)


def load_result(path: pathlib.Path) -> tuple[Result, dict[str, Any]]:
    """Reads what `save_result` wrote: the result and the facts.

    The rows of results that tfinvert 0.3 and earlier wrote have words for keys, as
    "normalised error" in place of "normalized_error".

    Raises:
      InputError: there is no result, or it is damaged.
    """
    try:
        values = json.loads((path / RESULTS).read_text(encoding="utf-8"))
        result = Result(
            values.pop("title"),
            values.pop("lead"),
            values.pop("findings"),
            values.pop("rows"),
            [_read_figure(path, **figure) for figure in values.pop("figures")],
            [Claim(**claim) for claim in values.pop("claims")],
        )
        return result, values
    except FileNotFoundError as error:
        raise InputError(
            f"{path} contains no result of an experiment: {error.filename} is missing"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = first_line(error)
        raise InputError(f"{path / RESULTS} is damaged: {reason}") from error


def finished_results(run: pathlib.Path) -> Iterator[tuple[str, Result, dict[str, Any]]]:
    """The finished experiments of a run, in the order of reports.

    Args:
      run: a run directory.

    Yields:
      Each one's name, result and facts, as `load_result` reads them.

    Raises:
      InputError: a result is damaged.
    """
    for name in EXPERIMENTS:
        if (run / name / RESULTS).exists():
            yield name, *load_result(run / name)


def claims_page(runs: Mapping[str, str | pathlib.Path]) -> str:
    """A Markdown page with a table for each run: finding, measure, value, confirmed or not.

    Args:
      runs: work directories, by the name of what they are about, for example "AlexNet".

    Raises:
      InputError: a directory has no finished experiment that tests a claim, or is damaged.
    """
    parts = [
        "# The paper's findings, tested",
        "Written by `recipes/claims.py`; each number is from an experiment of "
        "`recipes/analyze.py`, whose report has the pictures. The criteria are part of the "
        "experiments' code. ± is a standard error.",
    ]
    for label, directory in runs.items():
        directory = pathlib.Path(directory)
        flags = read_flags(directory)
        rows, used = [], {}
        for experiment, result, facts in finished_results(directory):
            used |= facts["inverters"]
            rows += [
                (experiment, claim.finding, claim.measure, claim.value, _VERDICT[claim.holds])
                for claim in result.claims
            ]
        if not rows:
            raise InputError(
                "the page takes runs with an experiment that tests a claim; run more experiments "
                f"with recipes/analyze.py. Received: {directory}"
            )
        settings = [f"{name} {value}" for name, value in flags.items() if value is not None]
        parts += [f"## {label}", f"Made with {', '.join([*settings, *used])}.", _table(rows)]
    return "\n\n".join(parts) + "\n"


def slug(title: str) -> str:
    """A title as a part of a file's name: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _read_figure(path: pathlib.Path, title: str, caption: str, file: str) -> Figure:
    svg, gif, png = (path / f"{file}.{suffix}" for suffix in ("svg", "gif", "png"))
    text = svg.read_text(encoding="utf-8").removeprefix(_PROLOG).strip() if svg.exists() else None
    return Figure(
        title,
        caption,
        image=np.asarray(Image.open(png).convert("RGB")) if png.exists() else None,
        svg=text,
        gif=gif.read_bytes() if gif.exists() else None,
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [_CLAIM_COLUMNS, ["---"] * len(_CLAIM_COLUMNS), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
