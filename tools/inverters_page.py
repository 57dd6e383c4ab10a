"""Writes the tables of docs/inverters.md for the pretrained inverters: `make inverters-page`."""

import json
import pathlib
import re
from collections.abc import Iterable, Sequence

PAGE = "docs/inverters.md"
FOLDER = "tfinvert/inverters"
CURRENT_HEADER = [
    "inverter",
    "feature",
    "image size",
    "error",
    "evaluated on",
    "trained on",
    "since",
    "SHA-256",
]
EARLIER_HEADER = ["inverter", "description", "released with tfinvert", "SHA-256"]


def page(root: pathlib.Path) -> str:
    """Returns the page with its tables updated from the cards; the text around them is unchanged.

    Args:
      root: the root of the checkout.
    """
    folder = root / FOLDER
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
    text = (root / PAGE).read_text(encoding="utf-8")
    for header, rows in ((CURRENT_HEADER, current), (EARLIER_HEADER, earlier)):
        first_line = re.escape(f"| {' | '.join(header)} |")
        table = "\n".join(_table_lines(header, rows))
        text, count = re.subn(rf"(?m)^{first_line}\n(\|.*\n)*", lambda _, new=table: new, text)
        assert count == 1, f"{PAGE} must contain exactly one table of {header}"
    return text


def _table_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


if __name__ == "__main__":
    checkout = pathlib.Path(__file__).parents[1]
    (checkout / PAGE).write_text(page(checkout), encoding="utf-8")
