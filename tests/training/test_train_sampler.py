"""Training samplers: the loss against NumPy, bit-exact resume, and refused settings."""

import dataclasses

import numpy as np
import pytest

import tfinvert
from tests.training.runs import (
    copy_until,
    fewer_statistics_images,
    interrupting,
    losses,
    wrapped_steps,
)
from tfinvert import features
from tfinvert.data.shuffling import stateless_uniform
from tfinvert.inverter import flow_matching
from tfinvert.networks import velocity
from tfinvert.training import strategies, train_sampler
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.settings import Intervals, Settings

SETTINGS = Settings(
    steps=4, batch_size=8, width=0.1, warmup_steps=1, learning_rate=2e-3, ema_decay=0.9,
    optimizer="adam",
)  # fmt: skip
INTERVALS = Intervals(log=1, validate=4, checkpoint=2)


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """Velocity networks with one residual block, as tracing dominates the tests' run time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(velocity, "BLOCKS", (0, 0, 1))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("samplers")


@pytest.fixture(scope="module")
def train(source, small_inverter, small_photos, folder):
    @fewer_statistics_images()
    def run(name, settings=SETTINGS, strategy="one", wrap_step=None):
        (folder / name).mkdir(exist_ok=True)
        dataset = TrainingDataset(small_inverter.feature, source, settings)
        devices = strategies.make_strategy(strategy)
        arguments = settings, folder / name, devices, INTERVALS
        with wrapped_steps(train_sampler, wrap_step or (lambda step, _: step)):
            return train_sampler.train_sampler(
                small_inverter, dataset, small_photos[:8], *arguments
            )

    return run


@pytest.fixture(scope="module")
def whole(train):
    return train("whole")


def weights(result):
    return result.inverter.flow.network.get_weights()


def test_the_result_samples_and_its_inverter_is_unchanged(whole, small_inverter, small_photos):
    ours, images = whole.inverter, small_photos
    reconstructions = small_inverter.reconstruct(images)
    np.testing.assert_allclose(ours.reconstruct(images[:4]), reconstructions[:4], atol=1e-6)
    samples = ours.sample(ours.encode(images[:2]), 2, steps=2)
    assert samples.shape == (2, 2, 32, 32, 3)
    assert whole.history[-1]["validation_velocity"] > 0
    # Measured on other images.
    expected = np.sqrt(np.square(images - reconstructions).mean())
    assert ours.flow.residual_std == pytest.approx(expected, rel=0.15)


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_unbroken_one_to_the_bit(whole, train, folder):
    copy_until(folder / "whole", folder / "broken", 2)
    resumed = train("broken")
    assert losses(resumed.history) == losses(whole.history)
    for a, b in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.inverter.flow.residual_std == whole.inverter.flow.residual_std
    again = train("broken", wrap_step=interrupting(0))  # which trains no further
    for a, b in zip(weights(resumed), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_two_devices_learn_what_one_does(train, whole):
    two = train("two", strategy="mirrored")
    np.testing.assert_allclose(losses(two.history), losses(whole.history), rtol=1e-4)


def test_the_loss_is_the_error_of_the_velocity(small_inverter, small_photos):
    state = train_sampler.FlowState(small_inverter, SETTINGS)
    state.residual_std.assign(0.2)
    noise, time = train_sampler.draw_noise_and_times(1, 0, np.arange(4), (32, 32, 3))
    images = small_photos[:4]
    residual = (images - small_inverter.reconstruct(images)) / 0.2
    point, target = flow_matching.interpolant(noise, residual, time)
    t = time[:, :, np.newaxis, np.newaxis]
    # An untrained network predicts the velocity of white noise.
    error = point * (2 * t - 1) / (t**2 + (1 - t) ** 2) - target
    expected = np.square(error).mean((1, 2, 3))
    loss = train_sampler.make_velocity_loss(state, state.network)
    found = loss(images, noise, time)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    from_features = loss(images, small_inverter.encode(images), noise, time)
    np.testing.assert_allclose(from_features, found, rtol=1e-5)


def test_noise_and_times_are_fixed_by_seed_and_position():
    noise, time = train_sampler.draw_noise_and_times(1, 3, np.arange(64), (8, 8, 3))
    again, _ = train_sampler.draw_noise_and_times(1, 3, np.arange(60, 64), (8, 8, 3))
    np.testing.assert_array_equal(noise[60:], again)
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    assert 0.25 < np.quantile(time, 0.25) < 0.45 and 0.4 < np.median(time) < 0.6
    assert ((time > 0) & (time < 1)).all()
    assert np.abs(np.corrcoef(noise.reshape(64, -1))[0, 1:]).max() < 0.4
    assert np.abs(np.corrcoef(time[:, 0], stateless_uniform(3, np.arange(64), 1)[:, 0])[0, 1]) < 0.4
    for kind, seed in ((2, 3), (1, 4)):
        assert (
            train_sampler.draw_noise_and_times(kind, seed, np.arange(2), (8, 8, 3))[0] != noise[:2]
        ).all()


@pytest.mark.parametrize(
    ("feature", "settings", "message"),
    [
        ("lbp", {}, "--init_from must be an inverter of the same --feature. Received: .* of hog"),
        ("hog", {"loss": "mae"}, "keeps the --init_from inverter .* Received: --loss=mae"),
        (
            "hog",
            {"network": "paper", "hidden_units": 3},
            "Received: --network=paper --hidden_units=3",
        ),
        ("hog", {"train_encoder": True}, "--train_encoder=True"),
        ("hog", {"uncertainty": "joint"}, "--uncertainty=joint"),
    ],
)
def test_unsuitable_settings_are_refused_in_one_line(small_inverter, feature, settings, message):
    wanted = features.get(feature, image_shape=(32, 32, 3))
    settings = dataclasses.replace(SETTINGS, **settings)
    with pytest.raises(tfinvert.InputError, match=message) as error:
        train_sampler.check_sampler_settings(small_inverter, wanted, settings)
    assert "\n" not in str(error.value)


def test_another_image_size_is_refused(small_inverter):
    wanted = features.get("hog", image_shape=(64, 64, 3))
    message = "images of 64×64 for an inverter of 32×32 that reconstructs 32×32"
    with pytest.raises(tfinvert.InputError, match=message):
        train_sampler.check_sampler_settings(small_inverter, wanted, SETTINGS)
