"""Output of the commands that need no TensorFlow, from one process."""

import json
import pathlib
import subprocess
import sys

import pytest

from tfinvert.config.registry import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]

# Each command line in a fork of a process that has imported nothing.
PROGRAM = """
import json, os, sys
for index, arguments in enumerate(json.loads(sys.argv[1])):
    if not os.fork():
        from tfinvert.commands.main import main
        sys.argv = ["tfinvert", *arguments]
        sys.stdout = open(os.path.join(sys.argv_folder, str(index)), "w")
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, (arguments, ended.code)
        heavy = {"tensorflow", "keras", "numpy", "cv2"} & sys.modules.keys()
        assert not heavy, (arguments, heavy)
        break
    assert os.wait()[1] == 0, arguments
"""


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """The standard output of `tfinvert` by its arguments."""
    folder = tmp_path_factory.mktemp("outputs")
    lines = [(name, "--help") for name in COMMANDS]
    lines += [("--help",), ("--version",), ("list",), ("list", "--json"), ("completion", "bash")]
    program = PROGRAM.replace("sys.argv_folder", repr(str(folder)))
    command = [sys.executable, "-c", program, json.dumps(lines)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return {line: (folder / str(i)).read_text("utf-8") for i, line in enumerate(lines)}
