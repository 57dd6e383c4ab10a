"""Training inverters, a few steps on real photographs."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.training.runs import SETTINGS, copy_until, losses
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.features import HostFeature
from tfinvert.metrics.evaluation import read_images
from tfinvert.networks import residual
from tfinvert.training import strategies
from tfinvert.training.settings import Intervals


def test_learns_something(train, small_photos):
    settings = dataclasses.replace(SETTINGS, steps=80, width=0.25, color_jitter=0.0)
    inverter, history = train(settings, intervals=Intervals(log=10, validate=80, checkpoint=80))
    assert losses(history)[-1] < 0.7 * losses(history)[0]
    # Not one image for everything.
    assert inverter.reconstruct(small_photos).std(axis=0).mean() > 0.02
    assert 0 < history[-1]["validation_error"] < 1


@pytest.mark.slow
def test_same_losses_on_two_devices_as_on_one(train):
    # A small clip_norm, so that the test would see a clipping that depends on the devices; Muon, so
    # that it would see that of either optimiser, as this leaves some variables to Adam.
    settings = dataclasses.replace(SETTINGS, clip_norm=0.01, optimizer="muon")
    one, first = train(settings, name="one")
    two, second = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(second), losses(first), atol=1e-5)
    for a, b in zip(one.network.get_weights(), two.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_a_resumed_run_of_the_default_network_ends_as_an_unbroken_one(
    train_hog, tmp_path, monkeypatch
):
    monkeypatch.setattr(residual, "BLOCKS", 2)  # fewer to trace
    settings = dataclasses.replace(SETTINGS, network="residual", optimizer="muon")
    unbroken = train_hog(tmp_path / "unbroken", settings=settings)
    run = copy_until(tmp_path / "unbroken", tmp_path / "run", 4)
    unbroken.assert_equal(train_hog(run, settings=settings))


@pytest.mark.slow
def test_a_run_starts_from_the_given_weights_and_resumes_with_its_own(
    train_hog, unbroken_hog, tmp_path
):
    init_from = unbroken_hog.inverter
    initial = []

    def record(step, state):
        initial[:] = state.network.get_weights(), state.ema_network.get_weights()
        return step

    whole = train_hog(tmp_path / "run", wrap_step=record, init_from=init_from)
    assert len(initial) == 2
    for weights in initial:
        for a, b in zip(weights, init_from.network.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    expected = init_from.standardization
    for a, b in zip(whole.statistics, (expected.mean, expected.scale), strict=True):
        np.testing.assert_array_equal(a, b)
    assert losses(whole.history)[0] < losses(unbroken_hog.history)[0]
    run = copy_until(tmp_path / "run", tmp_path / "resumed", 4)
    whole.assert_equal(train_hog(run, init_from=init_from))


@pytest.mark.slow
def test_a_rate_far_too_high_is_reported(train):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e15, warmup_steps=0, steps=40)
    with pytest.raises(tfinvert.InputError, match="the loss became .*try a lower --learning_rate"):
        train(settings)


@pytest.mark.slow
def test_a_feature_that_fails_during_training_is_one_line(train):
    calls = iter(range(10_000))

    def late(image):
        return np.full((4, 4, 3), np.nan) if next(calls) > 100 else image[::8, ::8]

    feature = HostFeature(late, (4, 4, 3), image_shape=(32, 32, 3), name="late")
    settings = dataclasses.replace(SETTINGS, steps=40)
    intervals = Intervals(log=10, validate=100, checkpoint=100)
    with pytest.raises(tfinvert.InputError, match="pipeline failed: .*late must return") as error:
        train(settings, feature=feature, intervals=intervals)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_moving_average_lags_behind_the_weights(train_hog, unbroken_hog, tmp_path):
    last = train_hog(tmp_path / "run", settings=dataclasses.replace(SETTINGS, ema_decay=0.0))
    pairs = zip(unbroken_hog.weights, last.weights, strict=True)
    assert any(np.abs(a - b).max() > 1e-5 for a, b in pairs)


@pytest.mark.slow
def test_host_features_of_another_size_than_the_networks_train_in_the_pipeline(train):
    feature = features.get("skimage_hog", image_shape=(60, 100, 3))
    validation = read_images(open_source("photos", "validation"), (60, 100))[:8]
    inverter, history = train(feature=feature, validation=validation)
    assert inverter.feature is feature
    assert inverter.output_size == (56, 96)  # it learns the resized image
    assert len(history) == 6
    assert np.isfinite(losses(history)).all()
    assert losses(history)[-1] < losses(history)[0]


def test_tensorboard_gets_scalars_and_pairs_of_images(unbroken_hog):
    (file,) = (unbroken_hog.workdir / "summaries").iterdir()
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
    assert pair.shape == (32, 64, 3)


def test_a_batch_that_devices_cannot_share(train):
    message = "--batch_size must be a multiple of the 2 devices. Received: 7"
    with pytest.raises(tfinvert.InputError, match=message):
        train(dataclasses.replace(SETTINGS, batch_size=7), strategy="mirrored")


def test_an_unknown_strategy():
    with pytest.raises(
        tfinvert.InputError, match="auto, one, mirrored, multi_worker. Received: 'many'"
    ):
        strategies.make_strategy("many")


def test_a_feature_that_breaks_its_spec_ends_before_training(train, tmp_path):
    feature = HostFeature(
        lambda image: image[:7], (8, 8, 3), image_shape=(32, 32, 3), name="broken"
    )
    with pytest.raises(tfinvert.InputError, match="broken must return the declared shape"):
        train(feature=feature)
    assert not list((tmp_path / "run").glob("checkpoints/*"))
