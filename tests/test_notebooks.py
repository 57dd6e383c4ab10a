"""The notebooks: kept without outputs, and run from top to bottom in a kernel of their own."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
parametrized = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    read = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in read["cells"] if cell["cell_type"] == kind]


def test_there_are_four():
    assert len(NOTEBOOKS) == 4


@parametrized
def test_git_has_no_outputs(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert cell["metadata"] == {}


@parametrized
def test_links_lead_to_files(path):
    text = "".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    assert text.startswith("# ")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.slow
@parametrized
def test_it_runs_and_draws(path, tmp_path):
    """As `make docs` runs it."""
    command = [sys.executable, "-m", "nbconvert", "--to=notebook", "--execute"]
    done = subprocess.run(
        [*command, f"--output-dir={tmp_path}", path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    outputs = [x for cell in cells(tmp_path / path.name, "code") for x in cell["outputs"]]
    assert any("image/png" in x.get("data", {}) for x in outputs)
