"""Training for real, a few steps on real photographs."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.training.runs import SETTINGS, losses
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.features import HostFeature
from tfinvert.metrics.evaluation import read_images
from tfinvert.training import strategies, train_inverter
from tfinvert.training.train_inverter import Intervals


def test_learns_something(train, photos):
    settings = dataclasses.replace(SETTINGS, steps=80, width=0.25, jitter=0.0)
    inverter, history = train(settings, pace=Intervals(log=10, validate=80, checkpoint=80))
    assert losses(history)[-1] < 0.7 * losses(history)[0]
    assert inverter.reconstruct(photos).std(axis=0).mean() > 0.02  # not one image for everything
    assert 0 < history[-1]["validation_error"] < 1


def test_same_losses_on_two_devices_as_on_one(train):
    # A small clip_norm, so that the test would see a clipping that depends on the devices; Muon, so
    # that it would see that of either optimiser, as this leaves some variables to Adam.
    settings = dataclasses.replace(SETTINGS, clip_norm=0.01, optimizer="muon")
    one, first = train(settings, name="one")
    two, second = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(second), losses(first), atol=1e-5)
    for a, b in zip(one.network.get_weights(), two.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_nan_stops_with_the_last_good_checkpoint(train, tmp_path, monkeypatch):
    calls = iter(range(100))
    made = train_inverter.make_train_step

    def make_step(*arguments):
        step = made(*arguments)
        return lambda *batch: step(*batch) * (np.nan if next(calls) == 4 else 1.0)

    monkeypatch.setattr(train_inverter, "make_train_step", make_step)
    with pytest.raises(tfinvert.InputError, match="became nan by step 5.*checkpoint is .*step-4"):
        train(pace=Intervals(log=5, validate=100, checkpoint=2))
    assert {p.stem for p in (tmp_path / "run" / "checkpoints").glob("*.index")} == {
        "step-2",
        "step-4",
    }


def test_weights_that_are_not_finite_are_never_saved(train, tmp_path, monkeypatch):
    made = train_inverter.make_train_step

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

    monkeypatch.setattr(train_inverter, "make_train_step", make_step)
    with pytest.raises(tfinvert.InputError, match="no longer finite by step 4.*step-2"):
        train()
    assert not list((tmp_path / "run" / "checkpoints").glob("step-4*"))


def test_a_function_that_fails_in_the_middle_is_one_line(train):
    calls = iter(range(10_000))

    def late(image):
        return np.full((8, 8, 3), np.nan) if next(calls) > 150 else image[::8, ::8]

    feature = HostFeature(late, (8, 8, 3), name="late")
    settings = dataclasses.replace(SETTINGS, steps=40)
    with pytest.raises(tfinvert.InputError, match="pipeline failed: .*late must return") as error:
        train(settings, feature=feature, pace=Intervals(log=10, validate=100, checkpoint=100))
    assert "\n" not in str(error.value)


def test_a_rate_far_too_high_is_reported(train):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e15, warmup_steps=0, steps=40)
    with pytest.raises(tfinvert.InputError, match="the loss became .*try a lower --learning_rate"):
        train(settings)


def test_averaging_lags_behind_the_weights(train, unbroken):
    plain, _ = train(dataclasses.replace(SETTINGS, averaging=0.0))
    pairs = zip(unbroken.inverter.network.get_weights(), plain.network.get_weights(), strict=True)
    assert any(np.abs(a - b).max() > 1e-5 for a, b in pairs)


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
        Intervals(log=0)


def test_a_batch_that_devices_cannot_share(train):
    with pytest.raises(tfinvert.InputError, match="multiple of the 2 devices. Received: 7"):
        train(dataclasses.replace(SETTINGS, batch_size=7), strategy="mirrored")


def test_an_unknown_strategy():
    with pytest.raises(
        tfinvert.InputError, match="auto, one, mirrored, multi_worker. Received: 'many'"
    ):
        strategies.make_strategy("many")


def test_a_feature_that_breaks_its_spec_ends_before_training(train, tmp_path):
    feature = HostFeature(lambda image: image[:7], (8, 8, 3), name="broken")
    with pytest.raises(tfinvert.InputError, match="broken must return the declared shape"):
        train(feature=feature)
    assert not list((tmp_path / "run").glob("checkpoints/*"))
