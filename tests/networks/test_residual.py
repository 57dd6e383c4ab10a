"""The residual networks: sizes, initial output, context window, training."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinvert import features
from tfinvert.networks import inversion, residual
from tfinvert.networks.blocks import upconv


def build(name, side=64, **arguments):
    feature = features.get(name, image_shape=(side, side, 3))
    return inversion.build(feature, network="residual", **arguments)


@pytest.mark.parametrize(
    ("name", "side", "weights"),
    [
        ("hog", 64, 556_515),
        ("lbp", 128, 602_115),
        ("sift", 64, 680_867),
        pytest.param("hog", 256, 556_515, marks=pytest.mark.slow),
        pytest.param("lbp:cell_size=8", 64, 572_067, marks=pytest.mark.slow),
    ],
)
def test_output_sizes_and_parameters(name, side, weights):
    network = build(name, side)
    assert network.output_shape == (None, side, side, 3)
    assert network.count_params() == weights


def test_blocks_are_the_identity_and_images_near_mid_grey_at_first():
    network = build("hog")
    grid = np.random.default_rng(0).normal(size=(4, 8, 8, 31)).astype("f4")
    first = keras.Model(network.input, network.get_layer("first").output)
    last = keras.Model(network.input, network.get_layer(f"block{residual.BLOCKS}").output)
    np.testing.assert_array_equal(first(grid), last(grid))
    image = network(grid).numpy()
    assert abs(image.mean() - 0.5) < 0.1 and 0.01 < image.std() < 0.5


def test_context_is_the_mean_over_the_window():
    small, large = build("hog", 64), build("hog", 256)
    for network, side in ((small, 8), (large, 32)):
        grid = np.random.default_rng(0).normal(size=(2, side, side, 31)).astype("f4")
        activated, context = (
            keras.Model(network.input, network.get_layer(f"block2_{name}").output)(grid).numpy()
            for name in ("relu", "mean_of_columns")
        )
        half = residual.WINDOW // 2
        for row, column in ((0, 0), (3, side - 1), (side // 2, side // 2)):
            window = activated[
                :, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1
            ]
            np.testing.assert_allclose(context[:, row, column], window.mean((1, 2)), atol=1e-5)
    assert residual.WINDOW >= 2 * 8 - 1  # covers the grid of an image of 64 pixels


def test_upconvolution_by_four_is_a_convolution_and_a_sub_pixel_shuffle():
    inputs = keras.Input((5, 6, 2))
    model = keras.Model(inputs, upconv(inputs, 3, 12, "up", linear=True, stride=4))
    kernel, bias = model.get_layer("up").get_weights()  # [12, 12, out, in]
    shuffled = np.zeros((3, 3, 2, 4, 4, 3), np.float32)  # 3×3 neighbours → 4×4 pixels
    for down in range(3):
        for right in range(3):
            block = kernel[4 * (2 - down) :, 4 * (2 - right) :][:4, :4]
            shuffled[down, right] = block.transpose(3, 0, 1, 2)
    image = np.random.default_rng(0).normal(size=(1, 5, 6, 2)).astype("f4")
    convolved = tf.nn.conv2d(image, shuffled.reshape(3, 3, 2, 48), 1, "SAME")
    expected = tf.nn.depth_to_space(convolved, 4) + bias
    np.testing.assert_allclose(model(image), expected, atol=1e-5)


@pytest.mark.slow
def test_fits_photographs(photos):
    feature = features.get("hog")
    keras.utils.set_random_seed(0)
    network = inversion.build(feature, width=0.25, network="residual")
    values = feature(photos[:16])
    network.compile(keras.optimizers.Adam(5e-3), "mse", jit_compile=False)
    history = network.fit(values, photos[:16], epochs=90, verbose=0).history["loss"]
    assert history[-1] < 0.4 * np.var(photos[:16])
    changed = network.get_layer(f"block{residual.BLOCKS}_out").get_weights()[0]
    assert np.abs(changed).max() > 0  # it was zero


@pytest.mark.parametrize(
    ("shape", "side", "size"),
    [
        ((13, 13, 384), 227, 208),
        ((3, 3, 8), 64, 64),
        pytest.param((27, 27, 96), 227, 216, marks=pytest.mark.slow),
        pytest.param((6, 6, 256), 224, 192, marks=pytest.mark.slow),
    ],
)
def test_output_sizes_of_layers(shape, side, size):
    layer = types.SimpleNamespace(
        name="layer",
        image_shape=(side, side, 3),
        spec=tf.TensorSpec(shape),
        decoder="convolutional",
    )
    assert inversion.build(layer, network="residual").output_shape == (None, size, size, 3)


def test_network_for_vectors_is_the_papers():
    layer = types.SimpleNamespace(
        name="fc", image_shape=(64, 64, 3), spec=tf.TensorSpec((16,)), decoder="fully_connected"
    )
    ours, paper = (
        inversion.build(layer, width=0.05, network=network).to_json()
        for network in ("residual", "paper")
    )
    assert ours == paper
