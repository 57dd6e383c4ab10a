"""Learning to draw: one step against NumPy, resume to the bit, and what is refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.training.runs import Interrupted, few_measured, interrupt_after, losses
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.data.shuffling import stateless_uniform
from tfinvert.inverter import flow_matching as carrying
from tfinvert.training import strategies, train_sampler
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.settings import Intervals, Settings

SETTINGS = Settings(
    steps=4, batch_size=8, width=0.1, warmup_steps=1, learning_rate=2e-3, averaging=0.9,
    optimizer="adam",
)  # fmt: skip
PACE = Intervals(log=1, validate=4, checkpoint=2)

pytestmark = pytest.mark.usefixtures("few_blocks")


@pytest.fixture(scope="module")
def source():
    return open_source("photos", "training")


@pytest.fixture(scope="module")
def train(source, inverter, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flows")

    @few_measured()
    def run(name, settings=SETTINGS, strategy="one", start=inverter):
        (folder / name).mkdir(exist_ok=True)
        examples = TrainingDataset(start.feature, source, settings)
        devices = strategies.make_strategy(strategy)
        return train_sampler.train_sampler(
            start, examples, photos[:16], settings, folder / name, devices, PACE
        )

    return run


@pytest.fixture(scope="module")
def whole(train):
    return train("whole")


def weights(fitted):
    return fitted.inverter.flow.network.get_weights()


def test_what_comes_back_draws_and_the_inverter_is_as_it_was(whole, inverter, photos):
    ours = whole.inverter
    np.testing.assert_allclose(
        ours.reconstruct(photos[:4]), inverter.reconstruct(photos[:4]), atol=1e-6
    )
    samples = ours.sample(ours.encode(photos[:2]), 2, steps=2)
    assert samples.shape == (2, 2, 64, 64, 3)
    assert whole.history[-1]["validation_velocity"] > 0
    # The deviation is that of the images that are measured first.
    assert ours.flow.residual_std == pytest.approx(
        np.sqrt(np.square(photos - inverter.reconstruct(photos)).mean()), rel=0.15
    )


def test_an_interrupted_run_ends_as_an_unbroken_one_to_the_bit(whole, train, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, train_sampler, 3)
        with pytest.raises(Interrupted):
            train("broken")
    resumed = train("broken")  # from the checkpoint of step 2
    assert losses(resumed.history) == losses(whole.history)
    for a, b in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.inverter.flow.residual_std == whole.inverter.flow.residual_std
    again = train("broken")  # which trains no further
    for a, b in zip(weights(resumed), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_two_devices_learn_what_one_does(train, whole):
    two = train("two", strategy="mirrored")
    np.testing.assert_allclose(losses(two.history), losses(whole.history), rtol=1e-4)


def test_the_loss_is_the_error_of_the_velocity(inverter, photos):
    state = train_sampler.FlowState(inverter, SETTINGS)
    state.deviation.assign(0.2)
    noise, time = train_sampler.draw_noise_and_times(1, 0, np.arange(4), (64, 64, 3))
    images = photos[:4]
    place, direction = carrying.interpolant(
        noise, (images - inverter.reconstruct(images)) / 0.2, time
    )
    t = time[:, :, np.newaxis, np.newaxis]
    # An untrained network gives the velocity of white noise.
    error = place * (2 * t - 1) / (t**2 + (1 - t) ** 2) - direction
    expected = np.square(error).mean((1, 2, 3))
    found = train_sampler._losses_of(state, state.network, tf.identity)(images, noise, time)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    given = train_sampler._losses_of(state, state.network, tf.identity)(
        images, inverter.encode(images), noise, time
    )
    np.testing.assert_allclose(given, found, rtol=1e-5)


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
        ("lbp", {}, "start must be an inverter of the same feature"),
        ("hog", {"loss": "absolute"}, "changes nothing of the inverter .* loss=absolute"),
        ("hog", {"network": "paper", "units": 3}, "Received: network=paper, units=3"),
        ("hog", {"train_encoder": True}, "train_encoder=True"),
    ],
)
def test_what_is_no_start_is_refused_in_one_line(inverter, feature, settings, message):
    wanted = features.get(feature, image_shape=(64, 64, 3))
    with pytest.raises(tfinvert.InputError, match=message) as error:
        train_sampler.check_sampler_settings(
            inverter, wanted, dataclasses.replace(SETTINGS, **settings)
        )
    assert "\n" not in str(error.value)


def test_another_size_is_refused(inverter):
    with pytest.raises(tfinvert.InputError, match="one for 64×64 that makes 64×64, and images of"):
        train_sampler.check_sampler_settings(
            inverter, features.get("hog", image_shape=(128, 128, 3)), SETTINGS
        )
