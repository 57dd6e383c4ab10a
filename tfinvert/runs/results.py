"""An experiment's result as a directory: `results.json`, and its figures as files."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tfinvert.analysis.experiments import EXPERIMENTS
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError, first_line
from tfinvert.files import atomic_directory
from tfinvert.reporting.grids import write_png
from tfinvert.reporting.report import Figure

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


def finished(run: pathlib.Path) -> Iterator[tuple[str, Result, dict[str, Any]]]:
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
