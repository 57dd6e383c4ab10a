"""The notebooks: stored without outputs, and executable from top to bottom."""

import json
import os
import pathlib
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read_cells(path, cell_type):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == cell_type]


def test_there_are_four_notebooks():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path):
    for cell in read_cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert cell["metadata"] == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_title_and_links(path):
    text = "".join("".join(cell["source"]) for cell in read_cells(path, "markdown"))
    assert text.startswith("# ")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.slow
def test_execution_by_nbconvert_draws_a_picture(tmp_path):
    """Executes the first notebook as `make docs` does with all."""
    command = [sys.executable, "-m", "nbconvert", "--to=notebook", "--execute"]
    finished = subprocess.run(
        [*command, f"--output-dir={tmp_path}", NOTEBOOKS[0]],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    cells = read_cells(tmp_path / NOTEBOOKS[0].name, "code")
    outputs = [x for cell in cells for x in cell["outputs"]]
    assert any("image/png" in x.get("data", {}) for x in outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_execution_draws_a_picture(path):
    """Executes the cells in this process, which has loaded TensorFlow."""
    variables = {"__name__": "__main__"}
    for number, cell in enumerate(read_cells(path, "code")):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), variables)
    assert plt.get_fignums()
    plt.close("all")
