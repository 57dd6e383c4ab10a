"""Samples: noise carried along a velocity, and inverters that draw."""

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert.inverter import Inverter, flow_matching
from tfinvert.inverter.serialization import ARRAYS
from tfinvert.metrics import evaluation
from tfinvert.networks import velocity

pytestmark = pytest.mark.usefixtures("few_blocks")


@pytest.fixture(scope="module")
def drawing(inverter):
    """The small inverter with a velocity network of random weights."""
    network = velocity.build(inverter.feature, width=0.1)
    draw = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.05 * draw.normal(size=variable.shape))
    parts = inverter.feature, inverter.standardization, inverter.network
    return Inverter(*parts, {"steps": 0}, flow=flow_matching.FlowSampler(network, 0.2))


@pytest.fixture(scope="module")
def values(drawing, photos):
    return drawing.encode(photos[:3])


def test_a_line_goes_from_noise_to_data_at_a_steady_pace():
    noise, data = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 3)).astype("f4")
    times = np.array([[0.0], [1.0], [0.25]], "f4")
    place, direction = flow_matching.interpolant(noise, data, times)
    np.testing.assert_allclose(place[0], noise[0])
    np.testing.assert_allclose(place[1], data[1])
    np.testing.assert_allclose(place[2] + 0.75 * direction[2], data[2], atol=1e-6)


def gaussian(mean, deviation):
    """The velocity from white noise to normal data, which is known in closed form."""

    def velocity_of(state, time):
        t = time[:, :, tf.newaxis, tf.newaxis]
        variance = (1 - t) ** 2 + (t * deviation) ** 2
        slope = (t * deviation**2 - (1 - t)) / variance
        return mean + slope * (state - t * mean)

    return velocity_of


def test_noise_is_carried_to_data_whose_velocity_is_known():
    noise = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("f4")
    errors = [
        np.abs(
            flow_matching.integrate_heun(gaussian(0.4, 0.3), noise, steps) - (0.4 + 0.3 * noise)
        ).max()
        for steps in (8, 16, 32)
    ]
    assert errors[-1] < 2e-3
    assert errors[0] > 3 * errors[1] > 9 * errors[2]  # of second order


def test_steps_as_heun_takes_them():
    noise = np.full((1, 1, 1, 3), 2.0, "f4")
    ours = flow_matching.integrate_heun(lambda x, t: x * t[:, :, tf.newaxis, tf.newaxis], noise, 2)
    x = 2.0
    for t in (0.0, 0.5):
        first = x * t
        x += 0.25 * (first + (x + 0.5 * first) * (t + 0.5))
    np.testing.assert_allclose(ours, np.full((1, 1, 1, 3), x), rtol=1e-6)


def test_samples_are_images_and_differ(drawing, values):
    samples = drawing.sample(values, 2, steps=2)
    assert samples.shape == (3, 2, 64, 64, 3)
    assert samples.dtype == np.float32
    assert samples.min() >= 0 and samples.max() <= 1
    assert np.abs(samples[:, 0] - samples[:, 1]).mean() > 0.01
    assert drawing.sample(values[:0], 2).shape == (0, 2, 64, 64, 3)


def test_a_sample_is_fixed_by_seed_place_and_feature(drawing, values):
    samples = drawing.sample(values, 3, seed=5, steps=2)
    np.testing.assert_array_equal(samples, drawing.sample(values, 3, seed=5, steps=2))
    fewer = drawing.sample(values[:2], 2, seed=5, steps=2)
    np.testing.assert_allclose(samples[:2, :2], fewer, atol=1e-5)
    other = drawing.sample(values, 3, seed=6, steps=2)
    assert np.abs(samples - other).mean() > 0.01
    alike = drawing.sample(values[[0, 0]], 1, seed=5, steps=2)
    assert np.abs(alike[0] - alike[1]).mean() > 0.01


def test_samples_lie_about_the_reconstruction(drawing, values):
    class Still:
        def __call__(self, given, training):
            return tf.zeros_like(given[0])

    parts = drawing.feature, drawing.standardization, drawing.network
    still = Inverter(*parts, flow=flow_matching.FlowSampler(Still(), 0.2))
    noise = [
        [flow_matching.seeded_noise((4, i, k), (64, 64, 3)) for k in range(2)] for i in range(3)
    ]
    expected = np.clip(drawing.invert(values)[:, np.newaxis] + 0.2 * np.array(noise), 0, 1)
    np.testing.assert_allclose(still.sample(values, 2, seed=4), expected, atol=1e-6)


def test_a_saved_inverter_draws_the_same(drawing, values, tmp_path):
    drawing.save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.sample(values, 1), drawing.sample(values, 1))
    np.testing.assert_array_equal(loaded.invert(values), drawing.invert(values))
    drawing.save(tmp_path / "small", "float16")
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(small.sample(values, 1), drawing.sample(values, 1), atol=0.02)
    loaded.round_weights("float16")
    np.testing.assert_array_equal(small.sample(values, 1), loaded.sample(values, 1))


def test_a_file_without_what_draws_is_refused(drawing, tmp_path):
    drawing.save(tmp_path / "saved")
    with np.load(tmp_path / "saved" / ARRAYS) as file:
        arrays = dict(file)
    del arrays["flow/deviation"]
    np.savez(tmp_path / "saved" / ARRAYS, **arrays)
    with pytest.raises(tfinvert.InputError, match="do not fit"):
        tfinvert.load(tmp_path / "saved")


def test_an_inverter_that_cannot_draw_says_so_in_one_line(inverter, values):
    with pytest.raises(tfinvert.InputError, match="of hog cannot draw samples: take ") as error:
        inverter.sample(values, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n must be a whole number from 1. Received: 0"),
        ({"n": 1.5}, "n must be a whole number from 1. Received: 1.5"),
        ({"seed": -1}, "seed must be a whole number from 0. Received: -1"),
        ({"steps": 0}, "steps must be a whole number from 1. Received: 0"),
        ({"features": np.zeros((2, 16, 16, 31))}, r"shape \[B, 8, 8, 31\]. Received: \(2, 16, 16"),
        ({"seed": 1.0}, "seed must be a whole number from 0. Received: 1.0"),
        ({"features": [np.zeros((8, 8, 31)), np.zeros((8, 9, 31))]}, "numbers, and of one shape"),
        ({"features": np.zeros((8, 8, 31))}, r"shape \[B, 8, 8, 31\]. Received: \(8, 8, 31\)"),
    ],
)
def test_wrong_input(drawing, values, changes, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        drawing.sample(**{"features": values, "n": 1} | changes)
    assert "\n" not in str(error.value)


def test_the_measures_of_samples(drawing, photos):
    measured = evaluation.evaluate_samples(drawing, photos[:4], 3)
    encoded = drawing.encode(photos[:4])
    samples, rebuilt = drawing.sample(encoded, 3), drawing.invert(encoded)

    def error(a, b):
        """Mean distance over that of all pairs of `a`."""
        pairs = [np.linalg.norm(a[i] - a[j]) for i in range(4) for j in range(i)]
        return np.mean([np.linalg.norm(x - y) for x, y in zip(a, b, strict=True)]) / np.mean(pairs)

    each = [samples[:, k] for k in range(3)]
    x = photos[:4]
    expected = {
        "sample_error": np.mean([error(x, one) for one in each]),
        "mean_of_samples_error": error(x, samples.mean(1)),
        "reconstruction_error": error(x, rebuilt),
        "sample_feature_error": np.mean([error(encoded, drawing.encode(one)) for one in each]),
        "reconstruction_feature_error": error(encoded, drawing.encode(rebuilt)),
        "deviation": np.sqrt(np.mean([np.var(samples[i], 0, ddof=1) for i in range(4)])),
        "residual": np.sqrt(np.mean((x - rebuilt) ** 2)),
    }
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-4), name
    assert (measured["samples"], measured["images"]) == (3, 4)
