"""Forks once for every program that it is sent, after loading what the programs need.

`tests/programs.py` starts it and sends requests as JSON lines on standard input.
"""

import contextlib
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
    program: str,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    seconds: int,
    stdout: str,
    stderr: str,
) -> None:
    """Runs a program as Python does, with its output in files and a time limit."""
    signal.alarm(seconds)
    os.chdir(cwd)
    os.environ.update(environment)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [program, *arguments]
    sys.path[0] = os.path.dirname(program)
    runpy.run_path(program, run_name="__main__")


def watch(status: str, **request) -> None:
    """Forks for a program, and writes its process id and its exit status into a named pipe."""
    pipe = os.open(status, os.O_WRONLY)
    process = os.fork()
    if not process:
        os.close(pipe)
        run_as_main(**request)
        return
    os.write(pipe, b"%d\n" % process)
    _, ended = os.waitpid(process, 0)
    os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


for line in sys.stdin:
    if not os.fork():
        watch(**json.loads(line))
        break
    with contextlib.suppress(ChildProcessError):  # none is left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
