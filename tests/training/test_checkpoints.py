"""Checkpoints: pruned, damaged, truncated, unwritable, and those of the previous version."""

import dataclasses
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.training.runs import (
    SETTINGS,
    TinyState,
    losses,
    on_tiny_states_and_once_on_a_network,
    train_tiny,
)
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion
from tfinvert.training.settings import Settings
from tfinvert.training.state import Checkpoints, TrainingState, has_checkpoint
from tfinvert.training.train_classifier import (
    ClassifierSettings,
    ClassifierState,
    InitialClassifier,
)
from tfinvert.training.train_sampler import FlowState

DATA = pathlib.Path(__file__).parent / "data"


@pytest.fixture
def finished(unbroken, tmp_path):
    """A copy of an uninterrupted run's directory, where `run` finds it."""
    return shutil.copytree(unbroken.workdir, tmp_path / "run")


@pytest.fixture
def make_state(run_in, hog):
    """Creates a state of the runs of `run_in`."""
    return TinyState if run_in is train_tiny else lambda: TrainingState(hog, SETTINGS)


def test_numbered_checkpoints_are_kept_and_pruned(make_state, tmp_path):
    assert not has_checkpoint(tmp_path)
    checkpoints = Checkpoints(make_state(), tmp_path)
    for step in (2, 4, 6, 8, 10):
        checkpoints.save(step)
    kept = {path.stem for path in (tmp_path / "checkpoints").glob("step-*.index")}
    assert kept == {"step-6", "step-8", "step-10"}
    assert has_checkpoint(tmp_path)


def truncate(run, kind, share):
    """Truncates a file of the newest checkpoint to a share of its size."""
    newest = next((run / "checkpoints").glob(f"step-6.{kind}*"))
    newest.write_bytes(newest.read_bytes()[: int(newest.stat().st_size * share)])


@on_tiny_states_and_once_on_a_network(
    ("kind", "share"),
    [(kind, share) for share in (0.99, 0.5, 0.0) for kind in ("data", "index")],
)
def test_a_truncated_checkpoint_is_named_and_the_previous_one_restored(
    run, finished, make_state, unbroken, tmp_path, capsys, kind, share
):
    truncate(finished, kind, share)
    shutil.copytree(finished, tmp_path / "copy")
    assert Checkpoints(make_state(), tmp_path / "copy").restore() == 4
    assert "step-6 cannot be read; resuming from step-4" in capsys.readouterr().out
    unbroken.assert_equal(run())
    assert "step-6 cannot be read; resuming from step-4" in capsys.readouterr().out
    unbroken.assert_equal(run())  # step 6 is complete again
    assert "cannot be read" not in capsys.readouterr().out


@on_tiny_states_and_once_on_a_network("pointer", [b"", None, b"garbled", b"\xff\xfe\x00"])
def test_a_damaged_pointer_is_rebuilt(run, unbroken, finished, pointer):
    path = finished / "checkpoints" / "checkpoint"
    path.unlink()
    if pointer is not None:
        path.write_bytes(pointer)
    assert run().history == unbroken.history
    assert b"step-6" in path.read_bytes()


@on_tiny_states_and_once_on_a_network("timestamps", ["all_model_checkpoint_timestamps: 0.0\n", ""])
def test_a_single_checkpoint_is_found_by_a_damaged_pointer(run, unbroken, finished, timestamps):
    for step in (2, 6):
        for path in (finished / "checkpoints").glob(f"step-{step}.*"):
            path.unlink()
    names = ("model_checkpoint_path", "all_model_checkpoint_paths")
    pointer = "".join(f'{name}: "step-4"\n' for name in names) + timestamps
    (finished / "checkpoints" / "checkpoint").write_text(pointer if timestamps else "garbled")
    unbroken.assert_equal(run())


@pytest.mark.parametrize("pointer", [None, b"garbled"])
def test_without_a_readable_checkpoint_a_run_does_not_start_again(run, tmp_path, pointer):
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "checkpoints" / "step-4.index").write_bytes(b"")
    (workdir / "history.jsonl").write_text('{"step": 1}\n')
    if pointer is not None:
        (workdir / "checkpoints" / "checkpoint").write_bytes(pointer)
    with pytest.raises(tfinvert.InputError, match="there is none to resume from; use") as error:
        run()
    assert "\n" not in str(error.value)
    assert (workdir / "history.jsonl").read_text() == '{"step": 1}\n'


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_run_resumes(
    run, unbroken, monkeypatch
):
    save = tf.train.CheckpointManager.save

    def full(self, checkpoint_number=None):
        if checkpoint_number == 4:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\n; more")
        return save(self, checkpoint_number)

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", full)
        with pytest.raises(tfinvert.InputError, match="step-4 cannot be written: .*step-2") as e:
            run()
    assert "\n" not in str(e.value)
    unbroken.assert_equal(run())


def frozen_keys(name):
    """Keys and shapes of the checkpoints of version 0.3.0."""
    return json.loads((DATA / "checkpoint_keys.json").read_text(encoding="utf-8"))[name]


def saved_keys(state, tmp_path):
    Checkpoints(state, tmp_path).save(2)
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "step-2"))
    shapes = reader.get_variable_to_shape_map()
    return {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shapes[key] for key in shapes}


SMALLEST = {"steps": 4, "batch_size": 4, "width": 0.03, "network": "paper"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain", {"optimizer": "adam"}),
        (
            "inverter",
            {
                "uncertainty": "joint",
                "loss": "mse:10,adversarial:0.1",
                "optimizer": "muon",
                "precision": "float16",
            },
        ),
    ],
)
def test_inverter_checkpoints_have_the_keys_of_the_previous_version(hog, tmp_path, name, settings):
    state = TrainingState(hog, Settings(**SMALLEST, **settings))
    assert saved_keys(state, tmp_path) == frozen_keys(name)


def test_autoencoder_checkpoints_have_the_keys_of_the_previous_version(small_layer, tmp_path):
    settings = Settings(**SMALLEST, optimizer="adamw", train_encoder=True)
    keys = saved_keys(TrainingState(small_layer("conv1"), settings), tmp_path)
    assert keys == frozen_keys("autoencoder")


@pytest.mark.slow
@pytest.mark.usefixtures("few_blocks")
def test_sampler_checkpoints_have_the_keys_of_the_previous_version(hog, tmp_path):
    network = inversion.build(hog, width=0.03, network="paper")
    standardization = Standardization(np.zeros(31, np.float32), np.ones(31, np.float32))
    inverter = Inverter(hog, standardization, network)
    settings = Settings(steps=4, batch_size=4, width=0.1, optimizer="adam")
    assert saved_keys(FlowState(inverter, settings), tmp_path) == frozen_keys("sampler")


def test_classifier_checkpoints_have_the_keys_of_the_previous_version(tmp_path):
    initial = InitialClassifier("torchvision", (32, 32), 63, 3, {})
    state = ClassifierState(initial, ClassifierSettings(steps=6, batch_size=8, hidden_units=4))
    assert saved_keys(state, tmp_path) == frozen_keys("classifier")


@pytest.mark.slow  # tests/compat resumes another
def test_a_run_of_the_previous_version_is_resumed(train, tmp_path):
    with zipfile.ZipFile(DATA / "run_0.3.0.zip") as archive:  # after step 2 of 4
        archive.extractall(tmp_path / "run")
    entries = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    expected = [json.loads(entry) for entry in entries]
    _, history = train(
        dataclasses.replace(SETTINGS, steps=4, width=0.01, clip_norm=1.0, spike_threshold=5.0)
    )
    assert history[:2] == expected[:2]
    np.testing.assert_allclose(losses(history), losses(expected), rtol=1e-3)
