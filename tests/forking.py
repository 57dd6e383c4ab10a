"""Forks once for every program that it is sent, after loading what the programs need.

`tests/programs.py` starts it and sends requests as JSON lines on standard input.
"""

import json
import os
import runpy
import signal
import sys

# Slow to import. TensorFlow's threads, which a fork would lack, are started later.
import tfinvert.runs.analyses
import tfinvert.runs.classifier
import tfinvert.runs.training
import tfinvert.serving  # noqa: F401


def run_as_main(
    program: str, arguments: list[str], cwd: str, seconds: int, stdout: str, stderr: str
) -> None:
    """Runs a program as Python does, with its output in files and a time limit."""
    signal.alarm(seconds)
    os.chdir(cwd)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [program, *arguments]
    sys.path[0] = os.path.dirname(program)
    runpy.run_path(program, run_name="__main__")


for line in sys.stdin:
    process = os.fork()
    if not process:
        run_as_main(**json.loads(line))
        break
    _, status = os.waitpid(process, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
