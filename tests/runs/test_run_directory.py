"""A run directory is locked, and only opened with the flags it was created with."""

import json
import os
import subprocess
import sys

import pytest

import tfinvert
from tfinvert.runs import run_directory


def open_run(path, flags):
    """Opens a run and closes it again."""
    with run_directory.open_run(path, flags) as run:
        return run


FLAGS = {"feature": "hog", "steps": 10, "min_crop": None}


def test_a_new_directory_gets_its_flags(tmp_path):
    run = open_run(tmp_path / "a" / "run", FLAGS)
    assert json.loads((run / "flags.json").read_text()) == FLAGS
    assert open_run(run, FLAGS) == run


def test_other_flags_are_named_and_nothing_is_touched(tmp_path):
    run = open_run(tmp_path / "run", FLAGS)
    with pytest.raises(tfinvert.InputError, match=r"Received: steps=20 \(was 10\)") as error:
        open_run(run, FLAGS | {"steps": 20})
    assert "\n" not in str(error.value)
    assert json.loads((run / "flags.json").read_text()) == FLAGS


@pytest.mark.parametrize("content", ["", "{", "half", "[1]", "null"])
def test_damaged_flags(tmp_path, content):
    (tmp_path / "flags.json").write_text(content)
    with pytest.raises(tfinvert.InputError, match="flags.json is damaged"):
        open_run(tmp_path, FLAGS)


def test_a_directory_of_the_users_own_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(tfinvert.InputError, match="neither empty nor a run"):
        open_run(tmp_path, FLAGS)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(tfinvert.InputError, match="is a file"):
        open_run(tmp_path / "holiday.jpg", FLAGS)


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(tfinvert.InputError, match="the work directory cannot be used .*file.run"):
        open_run(tmp_path / "file" / "run", FLAGS)


HOLDER = """
import sys, time
from tfinvert.runs.run_directory import lock_directory
import pathlib
with lock_directory(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_directory_in_use_names_the_process_and_a_killed_process_leaves_no_lock(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(tfinvert.InputError, match=f"in use by process {holder.pid} on ") as e:
            open_run(run, FLAGS)
        assert "\n" not in str(e.value)
        assert not (run / "flags.json").exists()
        holder.kill()
    open_run(run, FLAGS)
    ours = f"in use by process {os.getpid()}"
    with run_directory.open_run(run, FLAGS), pytest.raises(tfinvert.InputError, match=ours):
        open_run(run, FLAGS)


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path):
    open_run(tmp_path, FLAGS)
    (tmp_path / ".0123456789ab.report.html").write_text("half")
    (tmp_path / ".ba9876543210.inverter").mkdir()
    (tmp_path / ".mine").write_text("the user's own")
    open_run(tmp_path, FLAGS)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", ".mine", "flags.json"}


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    name = os.fsdecode(b"caf\xe9")  # TensorFlow could not write checkpoints to it
    with pytest.raises(tfinvert.InputError, match=r"must be UTF-8.* Received: .*caf\\udce9$"):
        open_run(tmp_path / name, FLAGS)
    assert not (tmp_path / name).exists()
