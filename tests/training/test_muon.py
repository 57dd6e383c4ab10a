"""Muon against NumPy: what a step does to a kernel, and to what is none."""

import keras
import numpy as np
import pytest

from tfinvert.training.optimizers import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(40, 16), (16, 40), (12, 12)])
def test_orthogonal_is_near_the_factor_of_a_polar_decomposition(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("f4")
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    ours = orthogonalize(matrix).numpy()
    assert np.sum(ours * (u @ v)) > 0.95 * np.linalg.norm(ours) * np.linalg.norm(u @ v)
    assert np.linalg.svd(ours, compute_uv=False).max() < 1.25


def test_a_step_of_a_convolution_is_one_of_the_matrix_it_is():
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


def test_kernels_have_one_moment_and_the_rest_has_adams_two():
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
    made = [tuple(v.shape) for v in optimizer.variables[own:]]
    twice = [v for v in variables if v is not conv.kernel]
    assert sorted(made) == sorted(tuple(v.shape) for v in [*variables, *twice])


def test_the_layer_of_the_image_gets_adam():
    layer = keras.layers.Conv2D(3, 3, name="image")
    layer.build((None, 8, 8, 4))
    before = layer.kernel.numpy()
    optimizer = Muon(0.01, weight_decay=0.0)
    optimizer.build(layer.trainable_variables)
    gradient = np.random.default_rng(2).normal(size=(3, 3, 4, 3)).astype("f4")
    optimizer.apply([gradient, np.ones(3, "f4")])
    np.testing.assert_allclose(layer.kernel.numpy(), before - 0.01 * np.sign(gradient), atol=1e-5)
