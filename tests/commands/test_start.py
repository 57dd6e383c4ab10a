"""How the command starts: without TensorFlow where it can, with the flags of the recipe, or not."""

import json
import pathlib
import subprocess
import sys

import pytest

import tfinvert
from tfinvert.config.registry import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = {
    "reconstruct": "recipes/reconstruct.py",
    "train": "recipes/train_inverter.py",
    "evaluate": "recipes/evaluate.py",
    "analyze": "recipes/analyze.py",
    "export": "export/export_savedmodel.py",
    "serve-check": "export/check_savedmodel.py",
}

# Each in a fork of a process that has loaded nothing yet.
WITHOUT_TENSORFLOW = """
import json, os, sys
for arguments in json.loads(sys.argv[1]):
    if not os.fork():
        from tfinvert.commands.main import main
        sys.argv = ["tfinvert", *arguments]
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, (arguments, ended.code)
        heavy = {"tensorflow", "keras", "numpy", "cv2"} & sys.modules.keys()
        assert not heavy, (arguments, heavy)
        break
    assert os.wait()[1] == 0, arguments
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, **options
    )


def refusal(*arguments):
    finished = run("-m", "tfinvert", *arguments)
    assert finished.returncode == 2
    assert not finished.stdout
    (line,) = finished.stderr.splitlines()
    return line.removeprefix("error: ")


def test_help_list_and_completion_load_no_tensorflow():
    each = [[name, "--help"] for name in COMMANDS]
    whole = [["--help"], ["--version"], ["list"], ["completion", "bash"]]
    finished = run("-c", WITHOUT_TENSORFLOW, json.dumps(each + whole))
    assert finished.returncode == 0, finished.stderr
    for name, command in COMMANDS.items():
        assert f"  {name:11}  {command.help.splitlines()[0]}\n" in finished.stdout
    assert f"\ntfinvert {tfinvert.__version__}\n" in finished.stdout


@pytest.mark.parametrize("command", PROGRAMS)
def test_a_command_has_the_help_and_the_flags_of_its_program(command):
    program = PROGRAMS[command]
    helps = [run(program, "--help"), run("-m", "tfinvert", command, "--help")]
    assert [finished.returncode for finished in helps] == [0, 0], helps[0].stderr
    text = helps[1].stdout
    assert f"\n    tfinvert {command} --" in text
    assert f"\ntfinvert {command}:\n  --" in text  # the flags are its own, not a module's
    same = helps[0].stdout.replace(f"python {program}", f"tfinvert {command}")
    assert same.replace(f"\n{program}:", f"\ntfinvert {command}:") == text


def test_no_command_and_an_unknown_one_name_those_there_are():
    accepted = f"tfinvert takes a command: {', '.join(COMMANDS)}"
    assert refusal() == f"{accepted}; tfinvert --help says what they do"
    assert refusal("recontruct") == f"{accepted}. Received: 'recontruct'. Did you mean reconstruct?"
    assert refusal("--inverter=hog") == f"{accepted}. Received: '--inverter=hog'."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "--inverter is needed"),
        (["evaluate", "--invertr=hog"], "Unknown command line flag 'invertr'. Did you mean: inv"),
        (["evaluate", "--inverter=hog", "--part=some"], "should be one of <all|training|valida"),
        (["list", "hog"], "unexpected argument 'hog'; every input is a --flag"),
        (["completion", "csh"], "completion takes one of bash, zsh, fish. Received: csh"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message):
    assert message in refusal(*arguments)


LAZY = """
import os, sys
import tfinvert
assert "tensorflow" not in sys.modules
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"  # before it is
assert {*tfinvert.__all__} <= {*dir(tfinvert)}
assert "hog" in tfinvert.shipped()
try:
    tfinvert.nothing
except AttributeError as error:
    print(error)
"""


def test_the_package_loads_no_tensorflow_before_it_is_needed():
    finished = run("-c", LAZY)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "module 'tfinvert' has no attribute 'nothing'\n"
