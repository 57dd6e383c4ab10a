"""The progress bar: a widget in notebooks that have widgets, otherwise a line."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# A kernel, as far as tqdm looks; and as far as the bar needs them, the widgets.
NOTEBOOK = """
import sys, types, warnings

class ZMQInteractiveShell:
    pass

sys.modules["IPython"] = types.SimpleNamespace(get_ipython=ZMQInteractiveShell, __path__=[])
sys.modules["IPython.display"] = types.SimpleNamespace(display=print)
sys.modules["ipykernel"] = sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel")

class Widget:
    def __init__(self, children=(), min=0, max=0):
        self.children, self.max, self.value = children, max, ""
        self.bar_style, self.style = "", types.SimpleNamespace()
        self.layout = types.SimpleNamespace()

    def __str__(self):
        return "widget"

class HBox(Widget):
    pass

widgets = types.SimpleNamespace(HTML=Widget, FloatProgress=Widget, HBox=HBox)
sys.modules["ipywidgets"] = widgets if sys.argv[1] == "widgets" else None

from tfinvert.training.progress import make_progress_bar

bar = make_progress_bar(0, 4)
bar.update(3)
bar.refresh()
if sys.argv[1] == "widgets":
    print(*(repr(child.value) for child in bar.container.children))
bar.close()
"""


def in_notebook(kind):
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK, kind]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished


def test_a_line_without_warning_in_a_notebook_without_widgets():
    finished = in_notebook("none")
    assert finished.stdout == ""
    assert "3/4 steps |" in finished.stderr
    assert "IProgress" not in finished.stderr


def test_a_widget_with_one_bar():
    finished = in_notebook("widgets")
    assert finished.stderr == ""
    left, value, right = finished.stdout.splitlines()[-1].split(" ")
    assert left == repr("3/4\u2007steps\u2007")
    assert value == "3"
    assert "#" not in right and "█" not in right


@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "█"), ("ascii", "#")])
def test_the_line_has_characters_of_the_encoding(encoding, block):
    program = (
        "from tfinvert.training.progress import make_progress_bar\n"
        "bar = make_progress_bar(0, 4); bar.update(3); bar.close()\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        env={"PYTHONIOENCODING": encoding},
    )
    assert finished.returncode == 0
    assert f"3/4 steps |{15 * block}     |" in finished.stderr.decode(encoding)
