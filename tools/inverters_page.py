"""Writes the tables of docs/inverters.md from the inverters that ship: `make inverters-page`."""

import json
import pathlib
import re
from collections.abc import Iterable, Sequence

PAGE = "docs/inverters.md"
FOLDER = "tfinvert/inverters"
NOW = ["inverter", "features of", "pixels", "error", "measured on", "data", "since", "SHA-256"]
BEFORE = ["inverter", "what it was", "came with tfinvert", "SHA-256"]


def page(root: pathlib.Path) -> str:
    """The page with tables of what the files say now; the words around them are its own."""
    folder = root / FOLDER
    versions = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    now, before = [], []
    for name, each in sorted(versions.items()):
        card = json.loads((folder / name / "inverter.json").read_text(encoding="utf-8"))["made"]
        facts = {**card["metrics"], **card, **each[-1], "name": name}
        now.append(
            (
                f"`{name}@{facts['version']}`",
                facts["feature"],
                facts["image_size"],
                f"{facts['normalized_error']:.3f}",
                facts["validation_data"],
                facts["data"],
                facts["release"],
                f"`{facts['sha256'][:16]}`",
            )
        )
        before += [
            (f"`{name}@{x['version']}`", x["changes"], x["release"], f"`{x['sha256'][:16]}`")
            for x in each[:-1]
        ]
    text = (root / PAGE).read_text(encoding="utf-8")
    for head, rows in ((NOW, now), (BEFORE, before)):
        begin = re.escape(f"| {' | '.join(head)} |")
        text, found = re.subn(rf"(?m)^{begin}\n(\|.*\n)*", "\n".join(_lines(head, rows)), text)
        assert found == 1, f"{PAGE} has no one table of {head}"
    return text


def _lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


if __name__ == "__main__":
    here = pathlib.Path(__file__).parents[1]
    (here / PAGE).write_text(page(here), encoding="utf-8")
