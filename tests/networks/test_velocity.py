"""The velocity network: initial output, layers, dependencies and sizes."""

import types

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert import features
from tfinvert.networks import velocity


def build(shape=(8, 8, 31), side=64, **options):
    feature = types.SimpleNamespace(
        name="layer", image_shape=(side, side, 3), spec=types.SimpleNamespace(shape=shape)
    )
    return velocity.build(feature, **options)


def random_inputs(network, count=3, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [tuple(shape[1:]) for shape in network.input_shape]
    state, time, image, feature = (rng.normal(size=(count, *x)).astype("f4") for x in shapes)
    return [state, rng.random(time.shape, "f4"), 0 * image + 0.5, feature]


@pytest.fixture(scope="module")
def hog(few_blocks):
    return velocity.build(features.get("hog", image_shape=(64, 64, 3)), width=0.1)


def test_initial_velocity_is_that_of_white_noise(hog):
    inputs = random_inputs(hog)
    state, t = inputs[0], inputs[1][:, :, None, None]
    expected = state * (2 * t - 1) / (t**2 + (1 - t) ** 2)
    np.testing.assert_allclose(hog(inputs), expected, atol=1e-6)
    for time, factor in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        inputs[1][:] = time
        np.testing.assert_allclose(hog(inputs), factor * state, atol=1e-6)


def test_white_noise_velocity_is_the_regression_of_lines_between_independent_noises():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 200_000))
    for t in (0.1, 0.5, 0.8):
        state, direction = (1 - t) * start + t * end, end - start
        slope = (state * direction).mean() / (state**2).mean()
        layer = velocity.WhiteNoiseVelocity()
        output = layer(np.ones((1, 1, 1, 3), "f4"), np.full((1, 1), t, "f4"))
        np.testing.assert_allclose(output, slope, atol=0.02)


def test_fourier_time_embedding():
    times = np.array([[0.0], [0.3], [1.0]], "f4")
    embedding = velocity.FourierTimeEmbedding(4)(times).numpy()
    factors = np.pi * 2.0 ** np.array([0, 3, 6, 9])
    expected = np.concatenate([np.sin(times * factors), np.cos(times * factors)], 1)
    np.testing.assert_allclose(embedding, expected, atol=2e-4)  # float32 at 512 π


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((8, 8, 31), id="grid"),
        pytest.param((16, 16, 133), id="finer grid"),
        pytest.param((3, 3, 256), id="coarser grid"),
        pytest.param((1000,), id="vector"),
    ],
)
def test_output_depends_on_each_input(shape, few_blocks):
    network = build(shape, width=0.1)
    assert network.output_shape == (None, 64, 64, 3)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    inputs = random_inputs(network)
    output = network(inputs).numpy()
    assert np.isfinite(output).all()
    for i, other in enumerate(random_inputs(network, seed=1)):
        changed = [*inputs]
        changed[i] = other if i != 2 else inputs[2] + 0.25
        assert np.abs(network(changed).numpy() - output).max() > 1e-3, i


def test_network_round_trips_through_json(hog):
    restored = keras.models.model_from_json(hog.to_json())
    restored.set_weights(hog.get_weights())
    inputs = random_inputs(hog)
    np.testing.assert_array_equal(hog(inputs), restored(inputs))


def test_saved_networks_keep_their_registered_names():
    embedding, prior = velocity.FourierTimeEmbedding, velocity.WhiteNoiseVelocity
    assert keras.saving.get_registered_name(embedding) == "tfinvert>Waves"
    assert keras.saving.get_registered_name(prior) == "tfinvert>Straight"


def test_sides_must_be_multiples_of_8():
    with pytest.raises(tfinvert.InputError, match="multiples of 8. Received: 60×60") as error:
        build(side=60)
    assert "\n" not in str(error.value)
