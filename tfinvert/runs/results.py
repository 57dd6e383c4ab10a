"""An experiment's result as a directory: `results.json`, and its figures as files."""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tfinvert.analysis.experiment import EXPERIMENTS
from tfinvert.analysis.result import Claim, Result
from tfinvert.common.files import atomic_directory
from tfinvert.errors import InputError, first_line
from tfinvert.reporting.grids import write_png
from tfinvert.reporting.report import Figure
from tfinvert.runs.run_directory import read_flags

RESULTS, TABLE = "results.json", "results.csv"


def save_result(path: pathlib.Path, result: Result, **facts: Any) -> None:
    """Writes a directory, whole or not at all.

    Beside `results.json`, its rows as `results.csv`, and each figure in the forms it has:
    `01-title.svg`, `.png` and `.gif`.

    Args:
      path: a directory that does not exist yet.
      result: what is written.
      facts: further JSON values.
    """
    with atomic_directory(path) as directory:
        figures = []
        for number, figure in enumerate(result.figures, 1):
            stem = f"{number:02}-{slug(figure.title)}"
            figures.append({"title": figure.title, "caption": figure.caption, "file": stem})
            if figure.svg is not None:
                (directory / f"{stem}.svg").write_text(_document(figure.svg), encoding="utf-8")
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
        result.table.to_csv(directory / TABLE, index=False)
        text = json.dumps(values, indent=1) + "\n"
        (directory / RESULTS).write_text(text, encoding="utf-8")


def load_result(path: pathlib.Path) -> tuple[Result, dict[str, Any]]:
    """Reads what `save_result` wrote: the result and the facts.

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
            [_figure(path, **figure) for figure in values.pop("figures")],
            [Claim(**claim) for claim in values.pop("claims")],
        )
        return result, values
    except FileNotFoundError as error:
        raise InputError(
            f"{path} holds no result of an experiment: {error.filename} is missing"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = first_line(error)
        raise InputError(f"{path / RESULTS} is damaged: {reason}") from error


def finished_results(run: pathlib.Path) -> Iterator[tuple[str, Result, dict[str, Any]]]:
    """The experiments that a run has finished, in the registry's order.

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


def _figure(path: pathlib.Path, title: str, caption: str, file: str) -> Figure:
    svg, gif, png = (path / f"{file}.{kind}" for kind in ("svg", "gif", "png"))
    return Figure(
        title,
        caption,
        image=np.asarray(Image.open(png).convert("RGB")) if png.exists() else None,
        svg=_element(svg.read_text(encoding="utf-8")) if svg.exists() else None,
        gif=gif.read_bytes() if gif.exists() else None,
    )


_PROLOG = '<?xml version="1.0" encoding="utf-8"?>\n'


def _document(svg: str) -> str:
    return f"{_PROLOG}{svg}\n"


def _element(document: str) -> str:
    return document.removeprefix(_PROLOG).strip()


def slug(title: str) -> str:
    """A title as a part of a file's name: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


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
        for experiment, result, made_of in finished_results(directory):
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
