"""Errors of the programs: one line on standard error, and the exit status."""

import subprocess
import sys

import pytest

import tfinvert
from tests import programs
from tfinvert.commands import runtime


@pytest.fixture
def run(monkeypatch):
    def call(main, *argv, **options):
        def app_run(guarded, flags_parser):
            status = guarded(["program", *argv])
            if status:
                sys.exit(status)

        monkeypatch.setattr(runtime.app, "run", app_run)
        runtime.run(main, **options)

    return call


def test_wrong_input_is_one_line_and_status_2(run, capsys):
    def main():
        raise tfinvert.InputError("first\n  second")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_other_errors_keep_their_traceback(run):
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_an_interrupt_is_status_130(run):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 130


PIPELINE = """
import time
import numpy as np
import tensorflow as tf
import tfinvert
from tfinvert.commands import runtime

def slow(i):
    time.sleep(0.2)
    return np.int64(i)

def main():
    numbers = tf.data.Dataset.counter().map(
        lambda i: tf.numpy_function(slow, [i], tf.int64), num_parallel_calls=2
    )
    iterator = iter(numbers.prefetch(2))
    next(iterator)
    try:
        raise KeyError
    except KeyError as error:
        raise tfinvert.InputError("enough") from error

runtime.run(main)
"""


@pytest.mark.slow
def test_a_program_ends_while_its_pipeline_runs(tmp_path):
    (tmp_path / "program.py").write_text(PIPELINE)
    # If Python ended before the pipeline, TensorFlow would wait forever.
    ended = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "error: enough"


def test_arguments_after_the_flags(run):
    seen = []
    run(seen.append, "a.jpg", "b.jpg", arguments=True)
    assert seen == [["a.jpg", "b.jpg"]]
    with pytest.raises(SystemExit) as ended:
        run(lambda: None, "a.jpg")
    assert ended.value.code == 2


PATHS = """
from absl import flags
from tfinvert.commands import runtime

flags.DEFINE_multi_string("data", [], "Values, one by one.")
flags.DEFINE_list("runs", [], "A list.")

def main(files):
    print(*flags.FLAGS.data, *flags.FLAGS.runs, *files, sep="\\n")

runtime.run(main, arguments=True, quick=True)
"""


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    expanded = {
        "~": "/home/me",
        "~/x": "/home/me/x",
        "folder:~/x": "folder:/home/me/x",
        "mix:1:folder:~+1/2:folder:~/x,min_crop=1": "mix:1:folder:/home/me+1/2:folder:/home/me/x,"
        "min_crop=1",
        "alexnet/conv1:weights=~/x.npz": "alexnet/conv1:weights=/home/me/x.npz",
        "./~/x": "./~/x",
        "x~": "x~",
        "~$x": "~$x",
        "http://host/~me": "http://host/~me",
        "~nobody_of_that_name/x": "~nobody_of_that_name/x",
    }
    (tmp_path / "program.py").write_text(PATHS)
    flags = [f"--data={value}" for value in expanded]
    finished = programs.run(tmp_path / "program.py", *flags, "--runs=a=~/x,~/y", "~/z.jpg")
    lines = [*expanded.values(), "a=/home/me/x", "/home/me/y", "/home/me/z.jpg"]
    assert finished.stdout.splitlines() == lines
