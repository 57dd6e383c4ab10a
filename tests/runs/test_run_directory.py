"""A run is only ever continued with the flags it was made with."""

import json

import pytest

import tfinvert
from tfinvert.runs.run_directory import open_run

FLAGS = {"feature": "hog", "steps": 10, "min_crop": None}


def test_a_new_directory_gets_its_flags(tmp_path):
    run = open_run(tmp_path / "a" / "run", FLAGS)
    assert json.loads((run / "flags.json").read_text()) == FLAGS
    assert open_run(run, FLAGS) == run


def test_other_flags_are_named_and_nothing_is_touched(tmp_path):
    run = open_run(tmp_path / "run", FLAGS)
    with pytest.raises(tfinvert.InputError, match=r" steps=20 \(was 10\)") as error:
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
    with pytest.raises(tfinvert.InputError, match="the work directory .*file.run"):
        open_run(tmp_path / "file" / "run", FLAGS)
