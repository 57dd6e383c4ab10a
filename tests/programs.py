"""Runs the command-line programs, in this process or in a fork of one that has loaded TensorFlow.

`run` is for most tests: it is quick, and shares with the test whatever the process has loaded.
`Program` and `call` give a program a process of its own, as when a user starts it.
"""

import atexit
import contextlib
import functools
import gc
import io
import json
import logging
import os
import pathlib
import re
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import warnings

from absl import flags

ROOT = pathlib.Path(__file__).parents[1]


def run(program, *arguments, cwd="."):
    """Runs a program in this process.

    Args:
      program: its path from the root of the checkout, or "tfinvert" for the command.
      *arguments: the command line.
      cwd: the working directory.

    Returns:
      A `CompletedProcess` with exit status, standard output and standard error.
    """
    path = program if program == "tfinvert" else str(ROOT / program)
    stdout, stderr = io.StringIO(), io.StringIO()
    with _restored_process_state(), contextlib.redirect_stdout(stdout), _redirected_stderr(stderr):
        os.chdir(cwd)
        sys.argv = [path, *map(str, arguments)]
        try:
            if program == "tfinvert":
                runpy.run_module("tfinvert", run_name="__main__", alter_sys=True)
            else:
                sys.path.insert(0, os.path.dirname(path))
                runpy.run_path(path, run_name="__main__")
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    command = [program, *arguments]
    return subprocess.CompletedProcess(command, status, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def _restored_process_state():
    """Restores directory, arguments, modules and their path, flags and signal handlers."""
    folder, argv, paths, defined = os.getcwd(), sys.argv, sys.path, {*flags.FLAGS}
    modules = {name: module for name, module in sys.modules.items() if module is not None}
    sys.path = [*paths]
    gc.freeze()  # so that the collection after an error, of all that TensorFlow loaded, is quick
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        gc.unfreeze()
        os.chdir(folder)
        sys.argv, sys.path = argv, paths
        for name, module in modules.items():
            if sys.modules.get(name) is None:  # the client of the server blocks Keras
                sys.modules[name] = module
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in defined])
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _redirected_stderr(stderr):
    """Redirects standard error, and the warnings that absl logs there, in a block."""
    handler = logging.StreamHandler(stderr)
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stderr(stderr):
            yield
    finally:
        logger.removeHandler(handler)


@functools.cache
def _forking() -> subprocess.Popen[str]:
    """The process that is forked, which ends with this one."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "forking.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    atexit.register(process.communicate)
    return process


class Program:
    """A program in a process of its own, which ends after five minutes at the latest.

    Attributes:
      pid: id of its process.
    """

    def __init__(self, program, *arguments, cwd=".", environment=None):
        """Starts a program.

        Args:
          program: its path from the root of the checkout.
          *arguments: the command line.
          cwd: the working directory.
          environment: variables beside those of this process; libraries are already imported.
        """
        self._command = [program, *arguments]
        self._folder = tempfile.TemporaryDirectory()
        status, *self._outputs = (
            pathlib.Path(self._folder.name, name) for name in ("status", "stdout", "stderr")
        )
        os.mkfifo(status)
        request = {
            "program": str(ROOT / program),
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd),
            "environment": environment or {},
            "seconds": 300,
            "status": str(status),
            "stdout": str(self._outputs[0]),
            "stderr": str(self._outputs[1]),
        }
        print(json.dumps(request), file=_forking().stdin, flush=True)
        self._status = status.open("rb", buffering=0)
        self.pid = int(self._status.readline())

    def ends(self, seconds=0):
        """Waits; returns whether the program has ended."""
        return bool(select.select([self._status], [], [], seconds)[0])

    def wait(self):
        """Waits for the end; returns a `CompletedProcess` as `run`."""
        with self._folder, self._status:
            status = int(self._status.readline())
            texts = [path.read_text(encoding="utf-8") for path in self._outputs]
            return subprocess.CompletedProcess(self._command, status, *texts)


def call(program, *arguments, **options):
    """Runs a program in a process of its own to its end, with the arguments of `Program`."""
    return Program(program, *arguments, **options).wait()


def run_on_jax(*arguments, cwd=None):
    """Runs Python with Keras on JAX, which compiles quickly here, in a process of its own.

    Args:
      *arguments: of Python.
      cwd: the working directory.

    Returns:
      A `CompletedProcess` with status 0, standard output and standard error.
    """
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": os.path.join(tempfile.gettempdir(), "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
    }
    finished = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished


def flags_in_help(text):
    """The flags that the output of --help lists; both forms of a switch."""
    found = re.findall(r"^  --(\[no\])?(\w+):", text, re.MULTILINE)
    return {flag for switch, name in found for flag in ([name, f"no{name}"] if switch else [name])}


def error_line(finished):
    """The error line with which a program ended after wrong input."""
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    line = finished.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line
