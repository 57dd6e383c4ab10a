"""The inversion networks: the paper's table, every size, initialisation, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.features import HostFeature
from tfinvert.networks import inversion
from tfinvert.networks.upconv import upconv


def hog(side):
    return features.get("hog", image_shape=(side, side, 3))


def test_layer_table_of_the_paper_at_256_pixels():
    printed = []
    inversion.build(hog(256)).summary(print_fn=printed.append, line_length=140)
    rows = [[cell.strip() for cell in line.split("│")] for line in "".join(printed).splitlines()]
    table = {row[1].split(" ")[0]: row[2] for row in rows if len(row) > 3}
    # reference: the HOG column of the paper's supplementary table, streams and widths
    table = {name: shape for name, shape in table.items() if name and "_relu" not in name}
    assert table == {
        "features": "(None, 32, 32, 31)",
        "global_conv1": "(None, 16, 16, 256)",
        "global_conv2": "(None, 8, 8, 512)",
        "global_conv3": "(None, 4, 4, 1024)",
        "global_upconv1": "(None, 8, 8, 512)",
        "global_upconv2": "(None, 16, 16, 256)",
        "global_upconv3": "(None, 32, 32, 128)",
        "detail_conv1": "(None, 32, 32, 128)",
        "detail_conv2": "(None, 32, 32, 128)",
        "streams": "(None, 32, 32, 256)",
        "join_conv1": "(None, 32, 32, 256)",
        "join_conv2": "(None, 32, 32, 128)",
        "image_upconv1": "(None, 64, 64, 64)",
        "image_upconv2": "(None, 128, 128, 32)",
        "image": "(None, 256, 256, 3)",
    }


def test_kernels_of_the_paper_at_256_pixels():
    network = inversion.build(hog(256), width=0.125)
    kernels = {
        layer.name: layer.kernel_size[0]
        for layer in network.layers
        if hasattr(layer, "kernel_size")
    }
    assert [kernels[f"global_conv{i}"] for i in (1, 2, 3)] == [5, 5, 3]
    assert [kernels[f"global_upconv{i}"] for i in (1, 2, 3)] == [4, 4, 4]
    assert [kernels[name] for name in ("detail_conv1", "detail_conv2")] == [5, 3]
    assert [kernels[name] for name in ("join_conv1", "join_conv2")] == [3, 3]
    assert [kernels[name] for name in ("image_upconv1", "image_upconv2", "image")] == [5, 5, 5]


@pytest.mark.parametrize("side", [32, 64, 96, 128, 200, 256])
def test_every_size_that_the_grid_reaches(side):
    network = inversion.build(hog(side), width=0.0625)
    assert network.output_shape == (None, side, side, 3)
    narrowest = min(
        layer.output.shape[1] for layer in network.layers if layer.name.startswith("global_conv")
    )
    assert 4 <= narrowest <= 7


def test_odd_grids_and_oblong_images():
    feature = features.get("hog", image_shape=(100, 150, 3))
    network = inversion.build(feature, width=0.0625)
    assert network.output_shape == (None, 104, 152, 3)
    assert network(np.zeros((2, *feature.spec.shape), np.float32)).shape == (2, 104, 152, 3)


def test_other_output_sizes():
    assert inversion.build(hog(64), (128, 128), 0.0625).output_shape == (None, 128, 128, 3)
    with pytest.raises(tfinvert.InputError, match="16×16 or 32×32 .* Received: 60×60"):
        inversion.build(hog(64), (60, 60))


def test_width_scales_every_layer_but_the_last():
    full = inversion.build(hog(64))
    half = inversion.build(hog(64), width=0.5)
    for layer, narrow in zip(full.layers, half.layers, strict=True):
        if hasattr(layer, "filters") and layer.name != "image":
            assert narrow.filters == layer.filters // 2
    assert half.get_layer("image").filters == 3


def test_leaky_relu_after_every_layer_but_the_last():
    network = inversion.build(hog(128), width=0.0625)
    convolutions = [layer.name for layer in network.layers if hasattr(layer, "filters")]
    slopes = {
        layer.name.removesuffix("_relu"): layer.negative_slope
        for layer in network.layers
        if isinstance(layer, keras.layers.LeakyReLU)
    }
    assert set(convolutions) - set(slopes) == {"image"}
    assert set(slopes.values()) == {0.2}
    assert all(
        layer.activation is keras.activations.linear
        for layer in network.layers
        if hasattr(layer, "filters")
    )


def test_he_initialisation_keeps_the_variance():
    keras.utils.set_random_seed(0)
    network = inversion.build(hog(64))
    inputs = np.random.default_rng(0).normal(size=(16, 8, 8, 31)).astype(np.float32)
    names = [layer.name for layer in network.layers if layer.name.endswith("_relu")]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in names])
    for name, values in zip(names, probe(inputs), strict=True):
        square = float(tf.reduce_mean(tf.square(values)))
        assert 0.3 < square < 3, f"{name}: mean square {square}"  # borders lose some, 0.2 adds


def test_starts_near_grey():
    images = inversion.build(hog(64))(np.random.default_rng(0).normal(size=(4, 8, 8, 31)))
    assert abs(float(tf.reduce_mean(images)) - 0.5) < 0.1
    assert float(tf.math.reduce_std(images)) < 0.3


def test_gradients_reach_every_variable():
    network = inversion.build(hog(64), width=0.125)
    inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 31))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(inputs)))
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(loss, network.trainable_variables),
        strict=True,
    ):
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path


def test_an_upconvolution_is_zeros_between_values_then_a_convolution():
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(inputs, upconv(inputs, 3, 5, "up", linear=True))
    kernel = model.get_layer("up").get_weights()[0]  # [5, 5, out, in]
    image = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype(np.float32)
    spread = np.zeros((1, 10, 10, 2), np.float32)
    spread[:, ::2, ::2] = image
    # Transposed convolution adds a kernel at each value: a true convolution, the kernel turned.
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    padded = np.pad(spread, [(0, 0), (2, 2), (2, 2), (0, 0)])
    expected = np.stack(
        [
            [np.einsum("ijc,ijco->o", padded[0, y : y + 5, x : x + 5], turned) for x in range(10)]
            for y in range(10)
        ]
    )
    bias = model.get_layer("up").get_weights()[1]
    ours = model(image)[0].numpy()
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    close = [
        np.allclose(ours[2:8, 2:8], (expected + bias)[2 + dy : 8 + dy, 2 + dx : 8 + dx], atol=1e-5)
        for dy, dx in offsets
    ]
    assert sum(close) == 1  # "top left of the block", up to the framework's choice of one pixel


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            HostFeature(lambda image: image, (40,), name="flat"),
            "at least 4×4 cells. Received: flat",
        ),
        (features.get("hog", image_shape=(16, 64, 3)), "at least 4×4 cells. Received: hog"),
    ],
)
def test_a_feature_that_no_network_fits(feature, message):
    with pytest.raises(tfinvert.InputError, match=message):
        inversion.build(feature)


def test_an_unknown_decoder_lists_the_known():
    feature = hog(64)
    feature.decoder = "dense"
    with pytest.raises(tfinvert.InputError, match="'dense'; there are: two_stream"):
        inversion.build(feature)


def test_bad_width():
    with pytest.raises(tfinvert.InputError, match="width must be positive"):
        inversion.build(hog(64), width=0)
