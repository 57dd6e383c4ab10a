"""Writes the parts of documents that follow from the package: `make tables`.

They are the pretrained inverters and their training commands in docs/inverters.md, from their
cards and versions, and the experiments in docs/analyses.md, from their declarations. The text
around these parts is unchanged.
"""

import json
import pathlib
import re
import textwrap
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
BEGIN, END = "<!-- training commands: make tables -->\n", "<!-- end -->\n"
MAX_WIDTH = 120  # characters of a line
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


def training_commands(root: pathlib.Path) -> str:
    """Returns a section for each pretrained inverter, with the commands that train it again.

    Args:
      root: the root of the checkout.
    """
    versions = json.loads((root / INVERTERS / "versions.json").read_text(encoding="utf-8"))
    sections = []
    for name, releases in sorted(versions.items()):
        current = releases[-1]
        commands = "\n".join(map(_wrap_command, current["commands"]))
        remark = textwrap.fill(current["differences"], MAX_WIDTH, break_on_hyphens=False)
        sections.append(f"### {name}\n\n```\n{commands}\n```\n\n{remark}\n")
    return "\n".join(sections)


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


SECTIONS = {"docs/inverters.md": training_commands}
TABLES = {"docs/inverters.md": inverter_tables, "docs/analyses.md": experiment_tables}


def update_page(page: str, root: pathlib.Path) -> str:
    """Returns the text of a page with its tables and sections updated.

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
    if page in SECTIONS:
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        assert end, f"{page} must contain the lines {BEGIN!r} and {END!r}"
        text = f"{before}{begin}\n{SECTIONS[page](root)}\n{end}{after}"
    return text


def _format_row(row: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, row))} |"


def _wrap_command(command: str) -> str:
    lines = textwrap.wrap(
        command,
        MAX_WIDTH - len(" \\"),
        subsequent_indent=" " * 4,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return " \\\n".join(lines)


def _format_names(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{quoted[0]} … {quoted[-1]}" if len(names) > MAX_NAMES else ", ".join(quoted)


if __name__ == "__main__":
    checkout = pathlib.Path(__file__).parents[1]
    for path in TABLES:
        updated = update_page(path, checkout)
        (checkout / path).write_text(updated, encoding="utf-8")
