"""Writes the tables of documents that follow from the package: `make tables`.

They are the pretrained inverters in docs/inverters.md, from their cards, and the experiments in
docs/analyses.md, from their declarations. The text around the tables is unchanged.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Sequence

Table = tuple[Sequence[str], list[Sequence[object]]]

INVERTERS = "tfinvert/inverters"
CURRENT_HEADER = (
    "inverter",
    "feature",
    "image size",
    "error",
    "evaluated on",
    "trained on",
    "since",
    "SHA-256",
)
EARLIER_HEADER = ("inverter", "description", "released with tfinvert", "SHA-256")
EXPERIMENT_HEADER = ("experiment", "description", "default inverters")
MAX_NAMES = 4  # longer lists of inverters are abbreviated


def inverter_tables(root: pathlib.Path) -> list[Table]:
    """Returns the tables of current and earlier versions of the pretrained inverters.

    Args:
      root: the root of the checkout.
    """
    folder = root / INVERTERS
    versions = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    current, earlier = [], []
    for name, releases in sorted(versions.items()):
        card = json.loads((folder / name / "inverter.json").read_text(encoding="utf-8"))["made"]
        entry = {**card["metrics"], **card, **releases[-1]}
        current.append(
            (
                f"`{name}@{entry['version']}`",
                entry["feature"],
                entry["image_size"],
                f"{entry['normalized_error']:.3f}",
                entry["validation_data"],
                entry["data"],
                entry["release"],
                f"`{entry['sha256'][:16]}`",
            )
        )
        earlier += [
            (f"`{name}@{x['version']}`", x["changes"], x["release"], f"`{x['sha256'][:16]}`")
            for x in releases[:-1]
        ]
    return [(CURRENT_HEADER, current), (EARLIER_HEADER, earlier)]


def experiment_tables(root: pathlib.Path) -> list[Table]:
    """Returns the table of experiments, in the order of reports.

    Args:
      root: the root of the checkout.
    """
    from tfinvert.config.registry import EXPERIMENTS  # imports TensorFlow when it is used

    rows = []
    for name, experiment in sorted(EXPERIMENTS.items(), key=lambda item: item[1].order):
        description = EXPERIMENTS.describe(name).rstrip(".")
        if experiment.documentation:
            description += f" ([{experiment.documentation}]({experiment.documentation}))"
        if experiment.on_request:
            description += "; not part of `all`"
        rows.append((f"`{name}`", description, _format_names(experiment.default_inverters)))
    return [(EXPERIMENT_HEADER, rows)]


TABLES = {"docs/inverters.md": inverter_tables, "docs/analyses.md": experiment_tables}


def update_page(page: str, root: pathlib.Path) -> str:
    """Returns the text of a page with its tables updated.

    Args:
      page: a key of `TABLES`.
      root: the root of the checkout.
    """
    text = (root / page).read_text(encoding="utf-8")
    for header, rows in TABLES[page](root):
        first_line = re.escape(_format_row(header))
        table = "\n".join(map(_format_row, (header, ["---"] * len(header), *rows))) + "\n"
        text, count = re.subn(rf"(?m)^{first_line}\n(\|.*\n)*", lambda _, new=table: new, text)
        assert count == 1, f"{page} must contain exactly one table of {header}"
    return text


def _format_row(row: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, row))} |"


def _format_names(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{quoted[0]} … {quoted[-1]}" if len(names) > MAX_NAMES else ", ".join(quoted)


if __name__ == "__main__":
    checkout = pathlib.Path(__file__).parents[1]
    for path in TABLES:
        updated = update_page(path, checkout)
        (checkout / path).write_text(updated, encoding="utf-8")
