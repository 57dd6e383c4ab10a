"""The velocity network: what it starts as, sizes, and what it depends on."""

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert import features
from tfinvert.networks import velocity


def build(name="hog", side=64, **arguments):
    return velocity.build(features.get(name, image_shape=(side, side, 3)), **arguments)


def inputs(network, count=3, seed=0):
    draw = np.random.default_rng(seed)
    shapes = [tuple(shape[1:]) for shape in network.input_shape]
    state, time, image, feature = (draw.normal(size=(count, *x)).astype("f4") for x in shapes)
    return [state, draw.random(time.shape, "f4"), 0 * image + 0.5, feature]


@pytest.fixture(scope="module")
def hog():
    return build(width=0.1)


def test_starts_as_the_velocity_of_white_noise(hog):
    given = inputs(hog)
    state, t = given[0], given[1][:, :, None, None]
    expected = state * (2 * t - 1) / (t**2 + (1 - t) ** 2)
    np.testing.assert_allclose(hog(given), expected, atol=1e-6)
    for time, factor in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        given[1][:] = time
        np.testing.assert_allclose(hog(given), factor * state, atol=1e-6)


def test_that_velocity_is_the_regression_of_lines_between_independent_noises():
    draw = np.random.default_rng(0)
    start, end = draw.normal(size=(2, 200_000))
    for t in (0.1, 0.5, 0.8):
        place, direction = (1 - t) * start + t * end, end - start
        slope = (place * direction).mean() / (place**2).mean()
        ours = velocity.WhiteNoiseVelocity()(np.ones((1, 1, 1, 3), "f4"), np.full((1, 1), t, "f4"))
        np.testing.assert_allclose(ours, slope, atol=0.02)


def test_waves_are_sines_and_cosines_of_the_time():
    times = np.array([[0.0], [0.3], [1.0]], "f4")
    waves = velocity.FourierTimeEmbedding(4)(times).numpy()
    factors = np.pi * 2.0 ** np.array([0, 3, 6, 9])
    expected = np.concatenate([np.sin(times * factors), np.cos(times * factors)], 1)
    np.testing.assert_allclose(waves, expected, atol=2e-4)  # float32 at 512 π


@pytest.mark.parametrize("name", ["hog", "sift", "alexnet/conv5", "alexnet/fc8"])
def test_once_trained_it_depends_on_each_input(name):
    network = build(name, width=0.1)
    assert network.output_shape == (None, 64, 64, 3)
    draw = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.1 * draw.normal(size=variable.shape))
    given = inputs(network)
    before = network(given).numpy()
    assert np.isfinite(before).all()
    for i, other in enumerate(inputs(network, seed=1)):
        changed = [*given]
        changed[i] = other if i != 2 else given[2] + 0.25
        assert np.abs(network(changed).numpy() - before).max() > 1e-3, i


def test_a_network_is_the_same_from_its_description(hog):
    again = keras.models.model_from_json(hog.to_json())
    again.set_weights(hog.get_weights())
    given = inputs(hog)
    np.testing.assert_array_equal(hog(given), again(given))


def test_sides_must_be_halved_three_times():
    with pytest.raises(tfinvert.InputError, match="multiples of 8. Received: 60×60") as error:
        build(side=60)
    assert "\n" not in str(error.value)
