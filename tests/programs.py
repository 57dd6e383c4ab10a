"""Programs as a user starts them, from a process that has loaded TensorFlow for all of them.

To load it takes most of the time of a short one. What differs from a start by hand is that alone:
each is a process of its own, with its own arguments, folder, output and exit status.
"""

import atexit
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]


@functools.cache
def _forking() -> subprocess.Popen[str]:
    """That process, which ends with this one."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "forking.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    atexit.register(process.communicate)
    return process


def call(program, *arguments, cwd="."):
    """Runs a program, named from the root of the checkout, for at most five minutes."""
    forking = _forking()
    with tempfile.TemporaryDirectory() as folder:
        said = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
        request = {
            "program": str(ROOT / program),
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd),
            "seconds": 300,
            "stdout": str(said[0]),
            "stderr": str(said[1]),
        }
        print(json.dumps(request), file=forking.stdin, flush=True)
        status = int(forking.stdout.readline())
        return subprocess.CompletedProcess([program, *arguments], status, *map(_text, said))


def flags_of_command(name):
    """The flags that `tfinvert NAME --help` lists; of a switch both forms."""
    command = [sys.executable, "-m", "tfinvert", name, "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^  --(\[no\])?(\w+):", said, re.MULTILINE)
    return {flag for switch, name in found for flag in ([name, f"no{name}"] if switch else [name])}


def _text(path):
    return path.read_text(encoding="utf-8")


def error_line(finished):
    """The line that a program ended with which was given something wrong."""
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    line = finished.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line
