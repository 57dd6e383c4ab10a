"""Runs programs in this process, which has loaded TensorFlow already.

`programs.call` starts a process of its own, and is for the tests that need one.
"""

import contextlib
import io
import os
import pathlib
import runpy
import signal
import subprocess
import sys
from unittest import mock

from absl import flags

ROOT = pathlib.Path(__file__).parents[1]


def run_program(program, *arguments, cwd="."):
    """Runs a Python file, named from the root of the checkout, as `python FILE ARGUMENTS` would.

    Returns:
      A CompletedProcess with the exit status and what the program printed.
    """
    path, before = str(ROOT / program), os.getcwd()
    stdout, stderr = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    known = {*flags.FLAGS}
    try:
        os.chdir(cwd)
        with (
            mock.patch.object(sys, "argv", [path, *map(str, arguments)]),
            mock.patch.object(sys, "path", [str(ROOT / os.path.dirname(program)), *sys.path]),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            status = _exit_status(path)
    finally:
        os.chdir(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name in {*flags.FLAGS} - known:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
    return subprocess.CompletedProcess(
        [program, *arguments], status, stdout.getvalue(), stderr.getvalue()
    )


def _exit_status(path):
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        return error.code or 0
    return 0
