"""Training for real, a few steps on real photographs."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.data.open import open_source
from tfinvert.evaluation import read_images
from tfinvert.features import HostFeature
from tfinvert.training import loop, optimizers, strategies
from tfinvert.training.examples import Examples
from tfinvert.training.loop import Pace, fit
from tfinvert.training.settings import Settings

DEFAULTS = Settings(
    steps=6, batch_size=8, width=0.125, warmup_steps=2, learning_rate=2e-3, averaging=0.9
)
# Quick to trace, which is most of the time here.
SETTINGS = dataclasses.replace(DEFAULTS, network="paper", optimizer="adam")
EVERY_STEP = Pace(log=1, validate=3, checkpoint=2)


@pytest.fixture(scope="module")
def source():
    return open_source("photos", "training")


@pytest.fixture(scope="module")
def hog():
    return features.get("hog", image_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def train_in(source, hog, photos):
    def run(
        workdir,
        settings=SETTINGS,
        *,
        feature=hog,
        validation=photos,
        strategy="one",
        pace=EVERY_STEP,
        start=None,
    ):
        workdir.mkdir(exist_ok=True)
        chosen = strategies.make(strategy)
        examples = Examples(feature, source, settings)
        return fit(feature, examples, validation, settings, workdir, chosen, pace, start)[:2]

    return run


@pytest.fixture
def train(train_in, tmp_path):
    def run(*arguments, name="run", **more):
        return train_in(tmp_path / name, *arguments, **more)

    return run


class Unbroken:
    """A run that nothing happened to: its directory, its network's weights, its history."""

    def __init__(self, train_in, workdir, **more):
        self.workdir = workdir
        self.inverter, self.history = train_in(workdir, **more)
        self.entries = [*self.history]

    def assert_equal(self, inverter, history):
        np.testing.assert_allclose(losses(history), losses(self.entries), rtol=1e-5)
        assert [entry["step"] for entry in history] == [entry["step"] for entry in self.entries]
        pairs = zip(
            self.inverter.network.get_weights(), inverter.network.get_weights(), strict=True
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=1e-6)
        for name in ("mean", "scale"):
            a, b = (getattr(each.standardization, name) for each in (self.inverter, inverter))
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def unbroken(train_in, tmp_path_factory):
    return Unbroken(train_in, tmp_path_factory.mktemp("unbroken") / "run")


@pytest.fixture
def finished(unbroken, tmp_path):
    """A copy of that run's directory, where `train` finds it."""
    return shutil.copytree(unbroken.workdir, tmp_path / "run")


def losses(history):
    return [entry["loss"] for entry in history]


def test_learns_something(train, photos):
    settings = dataclasses.replace(SETTINGS, steps=80, width=0.25, jitter=0.0)
    inverter, history = train(settings, pace=Pace(log=10, validate=80, checkpoint=80))
    assert losses(history)[-1] < 0.7 * losses(history)[0]
    assert inverter.reconstruct(photos).std(axis=0).mean() > 0.02  # not one image for everything
    assert 0 < history[-1]["validation_error"] < 1


def test_same_losses_on_two_devices_as_on_one(train):
    # A small clip_norm, so that the test would see a clipping that depends on the devices.
    settings = dataclasses.replace(SETTINGS, clip_norm=0.01)
    one, first = train(settings, name="one")
    two, second = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(second), losses(first), atol=1e-5)
    for a, b in zip(one.network.get_weights(), two.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


class Interrupted(BaseException):
    pass


def interrupt_after(monkeypatch, steps):
    made = loop.make_step

    def make_step(*arguments):
        step, calls = made(*arguments), iter(range(steps))

        def limited(*batch):
            if next(calls, None) is None:
                raise Interrupted
            return step(*batch)

        return limited

    monkeypatch.setattr(loop, "make_step", make_step)


def test_an_interrupted_run_ends_as_an_unbroken_one(train, tmp_path, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Interrupted):
            train()
    entries = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(entries[-1])["step"] == 5  # after the checkpoint of step 4
    unbroken.assert_equal(*train())


def test_the_default_network_and_optimizer_resume_exactly(train, train_in, tmp_path, monkeypatch):
    whole = Unbroken(train_in, tmp_path / "whole", settings=DEFAULTS)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Interrupted):
            train(DEFAULTS)
    whole.assert_equal(*train(DEFAULTS))
    _, on_two = train(DEFAULTS, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(on_two), losses(whole.history), atol=1e-4)


def test_a_finished_run_trains_no_further(train, monkeypatch, unbroken, finished):
    monkeypatch.setattr(loop, "make_step", None)
    again, history = train()
    assert history == unbroken.entries
    pairs = zip(unbroken.inverter.network.get_weights(), again.network.get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_numbered_checkpoints_are_kept_and_pruned(train, tmp_path):
    train(dataclasses.replace(SETTINGS, steps=10))
    kept = {path.stem for path in (tmp_path / "run" / "checkpoints").glob("step-*.index")}
    assert kept == {"step-6", "step-8", "step-10"}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["data", "index"])
def test_a_checkpoint_cut_short_is_named_and_the_one_before_is_taken(
    train, unbroken, finished, capsys, kind, share
):
    newest = next((finished / "checkpoints").glob(f"step-6.{kind}*"))
    newest.write_bytes(newest.read_bytes()[: int(newest.stat().st_size * share)])
    again, history = train()
    assert "step-6 cannot be read; going on from step-4" in capsys.readouterr().out
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


SELDOM = Pace(log=4, validate=100, checkpoint=4)


@pytest.fixture(scope="module")
def seldom_logged(train_in, tmp_path_factory):
    return Unbroken(train_in, tmp_path_factory.mktemp("seldom") / "run", pace=SELDOM)


@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGTERM, 3), (signal.SIGINT, 3), (signal.SIGTERM, 4), (signal.SIGTERM, 6)],
)
def test_a_signal_ends_the_run_after_its_step_and_nothing_is_lost(
    train, seldom_logged, monkeypatch, number, at
):
    made = loop.make_step

    def make_step(state, *arguments):
        step = made(state, *arguments)

        def signalled(*batch):
            if state.optimizer.iterations == at - 1:
                os.kill(os.getpid(), number)
            return step(*batch)

        return signalled

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", make_step)
        with pytest.raises(tfinvert.errors.Interrupted, match=f"after step {at} of 6") as stopped:
            train(pace=SELDOM)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is handler
    seldom_logged.assert_equal(*train(pace=SELDOM))


def test_a_signal_while_the_last_step_is_validated(train, unbroken, monkeypatch):
    validate = loop._validate

    def signalled(*arguments):
        if arguments[-1] == SETTINGS.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_validate", signalled)
        with pytest.raises(tfinvert.errors.Interrupted, match="after step 6 of 6"):
            train()
    unbroken.assert_equal(*train())


def test_nan_stops_with_the_last_good_checkpoint(train, tmp_path, monkeypatch):
    calls = iter(range(100))
    made = loop.make_step

    def make_step(*arguments):
        step = made(*arguments)
        return lambda *batch: step(*batch) * (np.nan if next(calls) == 4 else 1.0)

    monkeypatch.setattr(loop, "make_step", make_step)
    with pytest.raises(tfinvert.InputError, match="became nan by step 5.*checkpoint is .*step-4"):
        train(pace=Pace(log=5, validate=100, checkpoint=2))
    assert {p.stem for p in (tmp_path / "run" / "checkpoints").glob("*.index")} == {
        "step-2",
        "step-4",
    }


def test_weights_that_are_not_finite_are_never_saved(train, tmp_path, monkeypatch):
    made = loop.make_step

    def make_step(state, *arguments):
        step = made(state, *arguments)

        def poisoned(*batch):
            loss = step(*batch)
            if state.optimizer.iterations == 4:
                state.network.trainable_variables[0].assign_add(np.inf * batch_like(state))
            return loss

        return poisoned

    def batch_like(state):
        return np.ones(state.network.trainable_variables[0].shape, np.float32)

    monkeypatch.setattr(loop, "make_step", make_step)
    with pytest.raises(tfinvert.InputError, match="no longer finite by step 4.*step-2"):
        train()
    assert not list((tmp_path / "run" / "checkpoints").glob("step-4*"))


def test_clipping_can_be_switched_off(train):
    _, history = train(dataclasses.replace(SETTINGS, clip_norm=float("inf")))
    assert np.isfinite(losses(history)).all()


def test_a_function_that_fails_in_the_middle_is_one_line(train):
    calls = iter(range(10_000))

    def late(image):
        return np.full((8, 8, 3), np.nan) if next(calls) > 1100 else image[::8, ::8]

    feature = HostFeature(late, (8, 8, 3), name="late")
    settings = dataclasses.replace(SETTINGS, steps=40)
    with pytest.raises(tfinvert.InputError, match="pipeline failed: .*late must return") as error:
        train(settings, feature=feature, pace=Pace(log=10, validate=100, checkpoint=100))
    assert "\n" not in str(error.value)


def test_a_rate_far_too_high_is_reported(train):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e15, warmup_steps=0, steps=40)
    with pytest.raises(tfinvert.InputError, match="the loss became .*try a lower --learning_rate"):
        train(settings)


def test_averaging_lags_behind_the_weights(train, unbroken):
    plain, _ = train(dataclasses.replace(SETTINGS, averaging=0.0))
    pairs = zip(unbroken.inverter.network.get_weights(), plain.network.get_weights(), strict=True)
    assert any(np.abs(a - b).max() > 1e-5 for a, b in pairs)


def test_a_run_begins_with_the_weights_it_is_given_and_resumes_with_its_own(
    train, train_in, unbroken, tmp_path, monkeypatch
):
    start = unbroken.inverter
    still = dataclasses.replace(SETTINGS, steps=2, learning_rate=1e-12, averaging=0.0)
    inverter, _ = train(still, name="still", start=start)
    for a, b in zip(inverter.network.get_weights(), start.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for name in ("mean", "scale"):
        a, b = (getattr(each.standardization, name) for each in (inverter, start))
        np.testing.assert_array_equal(a, b)
    whole = Unbroken(train_in, tmp_path / "whole", start=start)
    interrupt_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        train(start=start)
    monkeypatch.undo()
    whole.assert_equal(*train(start=start))
    assert losses(whole.history)[0] < losses(unbroken.history)[0]


def test_decoupled_decay_is_a_multiple_of_the_rate(train):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-6, averaging=0.0, optimizer="adamw")
    free, decayed = (
        train(dataclasses.replace(settings, weight_decay=decay), name=str(decay))[0].network
        for decay in (0.0, 1e5)
    )
    rates = [float(optimizers.schedule(settings)(step)) for step in range(settings.steps)]
    left = np.prod([1 - 1e5 * rate for rate in rates])
    assert 0.5 < left < 0.9
    for a, b in zip(free.trainable_variables, decayed.trainable_variables, strict=True):
        if a.name == "kernel":
            np.testing.assert_allclose(b, left * a.numpy(), rtol=1e-2, atol=1e-4)


def test_host_features_train_in_the_pipeline(train):
    feature = features.get("skimage_hog", image_shape=(64, 64, 3))
    inverter, history = train(feature=feature)
    assert inverter.feature is feature
    assert np.isfinite(losses(history)).all()
    assert losses(history)[-1] < losses(history)[0]


def test_a_network_of_another_size_learns_the_resized_image(train):
    feature = features.get("hog", image_shape=(60, 100, 3))
    validation = read_images(open_source("photos", "validation"), (60, 100))
    inverter, history = train(feature=feature, validation=validation)
    assert inverter.output_size == (64, 104)
    assert len(history) == 6


def test_tensorboard_gets_scalars_and_pairs_of_images(unbroken):
    (file,) = (unbroken.workdir / "summaries").iterdir()
    scalars, images = {}, {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "images":
                images[event.step] = value.tensor.string_val
            elif value.tag == "loss":
                scalars[event.step] = float(tf.make_ndarray(value.tensor))
    assert sorted(scalars) == [1, 2, 3, 4, 5, 6]
    assert sorted(images) == [3, 6]
    pair = tf.io.decode_png(images[6][2])  # after width and height
    assert pair.shape == (64, 128, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be positive. Received: 0"),
        ({"batch_size": -1}, "batch_size must be positive"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"averaging": 1.0}, r"averaging must be in \[0, 1\)"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**32}, "seed must be from 0"),
        ({"width": float("inf")}, "width must be finite"),
        ({"warmup_steps": -1}, "must not be negative"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and not negative"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(tfinvert.InputError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_pace_out_of_range():
    with pytest.raises(tfinvert.InputError, match="must be positive"):
        Pace(log=0)


def test_a_batch_that_devices_cannot_share(train):
    with pytest.raises(tfinvert.InputError, match="multiple of the 2 devices. Received: 7"):
        train(dataclasses.replace(SETTINGS, batch_size=7), strategy="mirrored")


def test_an_unknown_strategy():
    with pytest.raises(
        tfinvert.InputError, match="auto, one, mirrored, multi_worker. Received: 'many'"
    ):
        strategies.make("many")


def test_a_feature_that_breaks_its_spec_ends_before_training(train, tmp_path):
    feature = HostFeature(lambda image: image[:7], (8, 8, 3), name="broken")
    with pytest.raises(tfinvert.InputError, match="broken declared features of shape"):
        train(feature=feature)
    assert not list((tmp_path / "run").glob("checkpoints/*"))
