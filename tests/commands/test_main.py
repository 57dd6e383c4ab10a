"""The command `tfinvert`: help, flags, and wrong command lines, mostly without TensorFlow."""

import pathlib
import subprocess
import sys

import pytest

import tfinvert
from tests.programs import error_line, run
from tfinvert.config.registry import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = {
    "train": "recipes/train_inverter.py",
    "reconstruct": "recipes/reconstruct.py",
    "evaluate": "recipes/evaluate.py",
    "analyze": "recipes/analyze.py",
    "export": "export/export_savedmodel.py",
    "serve-check": "export/check_savedmodel.py",
}


def test_help_lists_the_commands_and_loads_no_tensorflow(outputs):
    for name in COMMANDS:
        assert f"  {name:11}  {COMMANDS.describe(name)}\n" in outputs["--help",]
        assert COMMANDS.describe(name) == outputs[name, "--help"].partition("\n")[0]
    assert outputs["--version",] == f"tfinvert {tfinvert.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [next(iter(PROGRAMS)), *(pytest.param(x, marks=pytest.mark.slow) for x in [*PROGRAMS][1:])],
)
def test_a_program_has_the_help_and_the_flags_of_its_command(outputs, command):
    program = PROGRAMS[command]
    finished = subprocess.run(
        [sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    text = outputs[command, "--help"]
    assert f"\n    tfinvert {command} --" in text
    assert f"\ntfinvert {command}:\n  --" in text  # the flags are listed as the program's own
    help_text = finished.stdout.replace(f"python {program}", f"tfinvert {command}")
    assert help_text.replace(f"\n{program}:", f"\ntfinvert {command}:") == text


def refusal(*arguments):
    finished = run("tfinvert", *arguments)
    assert not finished.stdout
    line = error_line(finished)
    assert finished.stderr == f"{line}\n"
    return line.removeprefix("error: ")


def test_no_command_and_an_unknown_one_list_the_commands():
    known = f"the commands are {', '.join(COMMANDS)}"
    assert refusal() == f"no command; {known}; tfinvert --help describes them"
    hint = "Received: 'recontruct'. Did you mean reconstruct?"
    assert refusal("recontruct") == f"unknown command; {known}. {hint}"
    assert refusal("--inverter=hog") == f"unknown command; {known}. Received: '--inverter=hog'."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "--inverter is required"),
        (["evaluate", "--invertr=hog"], "Unknown command line flag 'invertr'. Did you mean: inv"),
        (["evaluate", "--inverter=hog", "--split=some"], "should be one of <all|training|valida"),
        (
            ["evaluate", "--inverter=hog", "--max_images=1"],
            "--max_images=1: 1 is not integer >= 2",
        ),
        (["list", "hog"], "unexpected argument; every input is a --flag. Received: 'hog'"),
        (["completion", "csh"], "the name of a shell: bash, zsh, fish. Received: csh"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message):
    assert message in refusal(*arguments)


LAZY = """
import os, sys
import tfinvert
assert "tensorflow" not in sys.modules
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"  # set before TensorFlow is imported
assert {*tfinvert.__all__} <= {*dir(tfinvert)}
assert "hog" in tfinvert.shipped()
try:
    tfinvert.nothing
except AttributeError as error:
    print(error)
"""


def test_the_package_loads_no_tensorflow_before_it_is_needed():
    command = [sys.executable, "-c", LAZY]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "module 'tfinvert' has no attribute 'nothing'\n"
