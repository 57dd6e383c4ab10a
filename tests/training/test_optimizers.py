"""Optimisers: decoupled weight decay, and Muon against NumPy."""

import keras
import numpy as np
import pytest

from tfinvert.config.registry import OPTIMIZERS
from tfinvert.training.optimizers import Muon, learning_rate_schedule, orthogonalize
from tfinvert.training.settings import Settings


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_decoupled_decay_is_a_multiple_of_the_rate(name):
    settings = Settings(steps=6, warmup_steps=2, optimizer=name, weight_decay=100.0)
    layer = keras.layers.Dense(4, bias_initializer="ones")
    layer.build((None, 3))
    before = layer.get_weights()
    optimizer = OPTIMIZERS[name](settings)
    optimizer.build(layer.trainable_variables)
    for _ in range(settings.steps):
        optimizer.apply([np.zeros(weight.shape, "f4") for weight in before])
    rates = [float(learning_rate_schedule(settings)(step)) for step in range(settings.steps)]
    factor = np.prod([1 - 100.0 * rate for rate in rates])
    assert 0.5 < factor < 0.9
    for ours, weight in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_allclose(ours, factor * weight, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 16), (16, 40), (12, 12)])
def test_orthogonalize_approximates_the_factor_of_a_polar_decomposition(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("f4")
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    ours = orthogonalize(matrix).numpy()
    assert np.sum(ours * (u @ v)) > 0.95 * np.linalg.norm(ours) * np.linalg.norm(u @ v)
    assert np.linalg.svd(ours, compute_uv=False).max() < 1.25


def test_a_convolutions_update_is_that_of_its_matrix():
    rng = np.random.default_rng(1)
    layer = keras.layers.Conv2D(6, 3, name="conv")
    layer.build((None, 8, 8, 4))
    kernel, bias = (w.numpy() for w in layer.weights)
    optimizer = Muon(0.01, weight_decay=0.1)
    optimizer.build(layer.trainable_variables)
    first, second = (rng.normal(size=(3, 3, 4, 6)).astype("f4") for _ in range(2))
    momentum = 0.0
    for gradient in (first, second):
        optimizer.apply([gradient, np.ones(6, "f4")])
        momentum = gradient + 0.95 * momentum
        direction = orthogonalize((gradient + 0.95 * momentum).reshape(36, 6)).numpy()
        kernel = kernel * (1 - 0.1 * 0.01) - 0.01 * 0.2 * 6 * direction.reshape(kernel.shape)
        bias = bias * (1 - 0.1 * 0.01) - 0.01  # Adam's step for a constant gradient
    np.testing.assert_allclose(layer.kernel.numpy(), kernel, atol=1e-6)
    np.testing.assert_allclose(layer.bias.numpy(), bias, atol=1e-6)


def test_kernels_have_one_moment_and_other_variables_have_adams_two():
    conv, dense, image = (
        keras.layers.Conv2D(6, 3, name="conv"),
        keras.layers.Dense(1030, name="dense"),  # too large for Muon
        keras.layers.Conv2D(3, 3, name="image"),
    )
    for layer, channels in ((conv, 4), (dense, 1030), (image, 4)):
        layer.build((None, 8, 8, channels))
    variables = [v for layer in (conv, dense, image) for v in layer.trainable_variables]
    optimizer = Muon(0.01)
    own = len(optimizer.variables)
    optimizer.build(variables)
    created = [tuple(v.shape) for v in optimizer.variables[own:]]
    twice = [v for v in variables if v is not conv.kernel]
    assert sorted(created) == sorted(tuple(v.shape) for v in [*variables, *twice])


def test_the_image_layer_gets_adam():
    layer = keras.layers.Conv2D(3, 3, name="image")
    layer.build((None, 8, 8, 4))
    before = layer.kernel.numpy()
    optimizer = Muon(0.01, weight_decay=0.0)
    optimizer.build(layer.trainable_variables)
    gradient = np.random.default_rng(2).normal(size=(3, 3, 4, 3)).astype("f4")
    optimizer.apply([gradient, np.ones(3, "f4")])
    np.testing.assert_allclose(layer.kernel.numpy(), before - 0.01 * np.sign(gradient), atol=1e-5)
