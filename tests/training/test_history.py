"""The history of a run, also after an interruption."""

import json

import pytest

import tfinvert
from tfinvert.training.history import History, throughput, training_minutes


def written(path, *steps):
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in steps))
    return path


def test_entries_are_appended_and_read_again(tmp_path):
    path = tmp_path / "history.jsonl"
    first = History(path, 0)
    assert not path.exists()
    first.add({"step": 1, "loss": 0.5})
    first.add({"step": 2, "loss": 0.25})
    lines = path.read_text().splitlines()
    assert History(path, 2).entries == first.entries == [json.loads(line) for line in lines]


def test_entries_after_the_checkpoint_are_dropped(tmp_path):
    path = written(tmp_path / "history.jsonl", 1, 2, 3)
    assert [entry["step"] for entry in History(path, 2).entries] == [1, 2]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_an_incomplete_line_is_dropped(tmp_path):
    path = written(tmp_path / "history.jsonl", 1, 2)
    with path.open("a") as file:
        file.write('{"step": 3')
    assert [entry["step"] for entry in History(path, 9).entries] == [1, 2]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize("line", ["garbled", "[1]", "{}"])
def test_a_damaged_line_is_reported_and_nothing_changed(tmp_path, line):
    path = tmp_path / "history.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(tfinvert.InputError, match="history.jsonl is damaged"):
        History(path, 9)
    assert path.read_text() == f'{{"step": 1}}\n{line}\n'


def test_minutes_are_summed_over_interruptions():
    entries = [
        {"step": 60, "images_per_second": 10.0},  # 60 steps of 10 images: 60 s
        {"step": 90, "images_per_second": 5.0},  # 30 steps: another 60 s
    ]
    assert training_minutes(entries, 10) == pytest.approx(2.0)
    assert training_minutes([], 10) == 0.0


def test_a_very_slow_run_has_a_positive_throughput():
    rate = throughput(2, 115.0)
    assert rate == 0.0174
    assert training_minutes([{"step": 3, "images_per_second": rate}], 2) == pytest.approx(
        5.75, rel=0.01
    )
    assert throughput(6400, 5.0) == 1280.0
