"""Starting a recipe as a user does, and what it says of wrong input."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def call(program, *arguments, cwd):
    return subprocess.run(
        [sys.executable, ROOT / "recipes" / program, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def error_line(finished):
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    line = finished.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line
