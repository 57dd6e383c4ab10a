"""Checkpoints that are damaged, cut short, full of days or not to be written."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.training.runs import SETTINGS
from tfinvert.training import train_inverter
from tfinvert.training.state import Checkpoints, TrainingState


@pytest.fixture
def finished(unbroken, tmp_path):
    """A copy of that run's directory, where `train` finds it."""
    return shutil.copytree(unbroken.workdir, tmp_path / "run")


def test_a_finished_run_trains_no_further(train, monkeypatch, unbroken, finished):
    monkeypatch.setattr(train_inverter, "make_train_step", None)
    again, history = train()
    assert history == unbroken.entries
    pairs = zip(unbroken.inverter.network.get_weights(), again.network.get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_numbered_checkpoints_are_kept_and_pruned(hog, tmp_path):
    checkpoints = Checkpoints(TrainingState(hog, SETTINGS), tmp_path)
    for step in (2, 4, 6, 8, 10):
        checkpoints.save(step)
    kept = {path.stem for path in (tmp_path / "checkpoints").glob("step-*.index")}
    assert kept == {"step-6", "step-8", "step-10"}


def cut(run, kind, share):
    """Leaves a share of a file of the newest checkpoint."""
    newest = next((run / "checkpoints").glob(f"step-6.{kind}*"))
    newest.write_bytes(newest.read_bytes()[: int(newest.stat().st_size * share)])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["data", "index"])
def test_a_checkpoint_cut_short_is_named_and_the_one_before_is_taken(
    hog, finished, capsys, kind, share
):
    cut(finished, kind, share)
    assert Checkpoints(TrainingState(hog, SETTINGS), finished).restore() == 4
    assert "step-6 cannot be read; going on from step-4" in capsys.readouterr().out


def test_a_run_goes_on_from_the_checkpoint_before(train, unbroken, finished):
    cut(finished, "data", 0.5)
    again, history = train()
    unbroken.assert_equal(again, history)
    assert train()[1] == history  # and step 6 is whole again


@pytest.mark.parametrize("pointer", [None, b"", b"garbled", b"\xff\xfe\x00"])
def test_a_damaged_pointer_is_made_anew(train, unbroken, finished, pointer):
    path = finished / "checkpoints" / "checkpoint"
    path.unlink()
    if pointer is not None:
        path.write_bytes(pointer)
    assert train()[1] == unbroken.entries
    assert b"step-6" in path.read_bytes()


@pytest.mark.parametrize("pointer", [None, b"garbled"])
def test_where_no_checkpoint_is_whole_a_run_is_never_begun_anew(train, tmp_path, pointer):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step-4.index").write_bytes(b"")
    (run / "history.jsonl").write_text('{"step": 1}\n')
    if pointer is not None:
        (run / "checkpoints" / "checkpoint").write_bytes(pointer)
    with pytest.raises(tfinvert.InputError, match="there is none to go on from") as error:
        train()
    assert "\n" not in str(error.value)
    assert (run / "history.jsonl").read_text() == '{"step": 1}\n'


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_run_goes_on(
    train, unbroken, monkeypatch
):
    save = tf.train.CheckpointManager.save

    def full(self, checkpoint_number=None):
        if checkpoint_number == 4:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\n; more")
        return save(self, checkpoint_number)

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", full)
        with pytest.raises(tfinvert.InputError, match="step-4 cannot be written: .*step-2") as e:
            train()
    assert "\n" not in str(e.value)
    unbroken.assert_equal(*train())
