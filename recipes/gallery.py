"""Markdown page of the paper's figures, from finished runs of `recipes/analyze.py`.

    python recipes/gallery.py --runs=AlexNet=runs/all --output=docs/gallery

writes docs/gallery.md and its pictures, docs/gallery/. The runs must have --data=photos.
"""

import pathlib

from absl import flags

from tfinvert.commands import runtime
from tfinvert.runs.gallery import write_gallery
from tfinvert.runs.run_directory import parse_named_paths

_RUNS = flags.DEFINE_list(
    "runs", None, "Work directories of recipes/analyze.py, each as NAME=DIRECTORY.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder of the pictures; the page is beside it, with the suffix .md.",
    required=True,
)


def main() -> None:
    """Writes the page and prints its path."""
    print(write_gallery(parse_named_paths(_RUNS.value, _RUNS.name), pathlib.Path(_OUTPUT.value)))


if __name__ == "__main__":
    runtime.run(main)
