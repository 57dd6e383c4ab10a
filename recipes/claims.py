"""Markdown page of the paper's findings and the numbers of finished runs that test them.

    python recipes/claims.py --runs=AlexNet=runs/all,SqueezeNet=runs/squeezenet \\
        --output=docs/claims.md
"""

from absl import flags

from tfinvert.commands import runtime
from tfinvert.common.files import write_text
from tfinvert.runs.results import claims_page
from tfinvert.runs.run_directory import parse_named_paths

_RUNS = flags.DEFINE_list(
    "runs", None, "Work directories of recipes/analyze.py, each as NAME=DIRECTORY.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Page to write; an existing one is replaced.", required=True
)


def main() -> None:
    """Writes the page and prints its path."""
    page = claims_page(parse_named_paths(_RUNS.value, _RUNS.name))
    write_text(_OUTPUT.value, page)
    print(_OUTPUT.value)


if __name__ == "__main__":
    runtime.run(main)
