"""The inversion networks: the paper's tables, every size, initialisation, errors."""

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


def lbp(side, cell_size=16):
    return features.get("lbp", image_shape=(side, side, 3), cell_size=cell_size)


def sift(side):
    return features.get("sift", image_shape=(side, side, 3))


def both_families(test):
    made = [hog(64), lbp(128), sift(64)]
    return pytest.mark.parametrize("feature", made, ids=lambda feature: feature.name)(test)


def standard_normal(feature, batch):
    shape = (batch, *feature.spec.shape)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# reference: the columns of the paper's supplementary tables for 256 pixels, streams and channels;
# kernels as far as we could read them. Kernel, stride, rows and columns, channels.
PAPER = {
    "hog": {
        "global_conv1": (5, 2, 16, 256),
        "global_conv2": (5, 2, 8, 512),
        "global_conv3": (3, 2, 4, 1024),
        "global_upconv1": (4, 2, 8, 512),
        "global_upconv2": (4, 2, 16, 256),
        "global_upconv3": (4, 2, 32, 128),
        "detail_conv1": (5, 1, 32, 128),
        "detail_conv2": (3, 1, 32, 128),
        "join_conv1": (3, 1, 32, 256),
        "join_conv2": (3, 1, 32, 128),
        "image_upconv1": (5, 2, 64, 64),
        "image_upconv2": (5, 2, 128, 32),
        "image": (5, 2, 256, 3),
    },
    "lbp": {
        "global_conv1": (5, 2, 8, 256),
        "global_conv2": (5, 2, 4, 512),
        "global_conv3": (3, 1, 4, 1024),
        "global_upconv1": (4, 2, 8, 512),
        "global_upconv2": (4, 2, 16, 256),
        "detail_conv1": (5, 1, 16, 128),
        "detail_conv2": (3, 1, 16, 128),
        "join_conv1": (3, 1, 16, 256),
        "join_conv2": (3, 1, 16, 128),
        "image_upconv1": (5, 2, 32, 128),
        "image_upconv2": (5, 2, 64, 64),
        "image_upconv3": (5, 2, 128, 32),
        "image": (5, 2, 256, 3),
    },
    "sift": {
        "global_conv1": (5, 2, 32, 256),
        "global_conv2": (3, 2, 16, 256),
        "global_conv3": (3, 2, 8, 512),
        "global_conv4": (3, 2, 4, 512),
        "global_conv5": (3, 1, 4, 512),
        "image_upconv1": (5, 2, 8, 512),
        "image_upconv2": (5, 2, 16, 512),
        "image_upconv3": (5, 2, 32, 256),
        "image_upconv4": (5, 2, 64, 128),
        "image_upconv5": (5, 2, 128, 64),
        "image": (5, 2, 256, 3),
    },
}


@pytest.mark.parametrize("feature", [hog(256), lbp(256), sift(256)], ids=lambda x: x.name)
def test_layer_table_of_the_paper_at_256_pixels(feature):
    network = inversion.build(feature)
    table = {}
    for layer in network.layers:
        if hasattr(layer, "filters"):
            _, rows, columns, channels = layer.output.shape
            assert rows == columns and layer.filters == channels
            table[layer.name] = (layer.kernel_size[0], layer.strides[0], rows, channels)
    assert table == PAPER[feature.name]
    if feature.decoder == "two_stream":
        side = feature.spec.shape[0]
        joined = network.get_layer("streams")
        assert [x.shape[1:3] for x in joined.input] == [(side, side)] * 2
        assert network.get_layer("join_conv1").input is joined.output


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        *(("hog", side, side) for side in (32, 64, 96, 128, 200, 256)),
        *(("lbp:cell_size=8", side, side) for side in (32, 64, 96, 128, 200, 256)),
        *(("lbp", side, side // 16 * 16) for side in (64, 96, 128, 200, 256)),
        *(("sift", side, side) for side in (32, 64, 96, 128, 200, 256)),
    ],
)
def test_every_size_that_the_grid_reaches(name, side, expected):
    feature = features.get(name, image_shape=(side, side, 3))
    network = inversion.build(feature, width=0.03)
    assert network.output_shape == (None, expected, expected, 3)
    narrowest = min(
        layer.output.shape[1] for layer in network.layers if layer.name.startswith("global_conv")
    )
    assert 4 <= narrowest <= 7


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("hog", (100, 150), (104, 152)),
        ("lbp:cell_size=8", (67, 101), (64, 96)),
        ("lbp:cell_size=8", (255, 32), (248, 32)),
        ("lbp", (150, 100), (144, 96)),
        ("lbp", (255, 81), (240, 80)),
        ("sift", (66, 101), (68, 104)),
        ("sift", (101, 33), (104, 36)),
        ("sift", (256, 32), (256, 32)),
    ],
)
def test_odd_grids_and_oblong_images(name, size, expected):
    feature = features.get(name, image_shape=(*size, 3))
    network = inversion.build(feature, width=0.03)
    assert network.output_shape == (None, *expected, 3)
    assert network(standard_normal(feature, 2)).shape == (2, *expected, 3)


def test_other_output_sizes():
    assert inversion.build(hog(64), (128, 128), 0.0625).output_shape == (None, 128, 128, 3)
    with pytest.raises(tfinvert.InputError, match="16×16 or 32×32 .* Received: 60×60"):
        inversion.build(hog(64), (60, 60))
    assert inversion.build(lbp(64), (128, 128), 0.03).output_shape == (None, 128, 128, 3)
    assert inversion.build(sift(64), (32, 32), 0.03).output_shape == (None, 32, 32, 3)
    with pytest.raises(tfinvert.InputError, match="32×32 or 64×64 .* Received: 60×64"):
        inversion.build(sift(64), (60, 64))


@both_families
def test_width_scales_every_layer_but_the_last(feature):
    quarter = inversion.build(feature, width=0.25)
    eighth = inversion.build(feature, width=0.125)
    for layer, narrow in zip(quarter.layers, eighth.layers, strict=True):
        if hasattr(layer, "filters") and layer.name != "image":
            assert narrow.filters == layer.filters // 2
    assert eighth.get_layer("image").filters == 3


@both_families
def test_leaky_relu_after_every_layer_but_the_last(feature):
    network = inversion.build(feature, width=0.0625)
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


@both_families
def test_he_initialisation_keeps_the_variance(feature):
    keras.utils.set_random_seed(0)
    network = inversion.build(feature, width=0.5)
    names = [layer.name for layer in network.layers if layer.name.endswith("_relu")]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in names])
    for name, values in zip(names, probe(standard_normal(feature, 16)), strict=True):
        square = float(tf.reduce_mean(tf.square(values)))
        assert 0.3 < square < 3, f"{name}: mean square {square}"  # borders lose some, 0.2 adds


@both_families
def test_starts_near_grey(feature):
    keras.utils.set_random_seed(0)
    images = inversion.build(feature, width=0.25)(standard_normal(feature, 4))
    assert abs(float(tf.reduce_mean(images)) - 0.5) < 0.1
    assert float(tf.math.reduce_std(images)) < 0.3


@both_families
def test_gradients_reach_every_variable(feature):
    network = inversion.build(feature, width=0.125)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(standard_normal(feature, 2))))
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(loss, network.trainable_variables),
        strict=True,
    ):
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path


@both_families
def test_the_middle_depends_on_the_whole_grid(feature):
    network = inversion.build(feature, width=0.0625)
    grid = tf.constant(standard_normal(feature, 1))
    rows, columns = (side // 2 for side in network.output_shape[1:3])
    with tf.GradientTape() as tape:
        tape.watch(grid)
        middle = tf.reduce_sum(network(grid)[:, rows, columns])
    reached = tf.reduce_max(tf.abs(tape.gradient(middle, grid)), -1)
    assert float(tf.reduce_min(reached)) > 0


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
        (features.get("lbp", image_shape=(256, 63, 3)), r"two-stream .* lbp with \[16, 3, 58\]"),
        (
            features.get("sift", image_shape=(28, 64, 3)),
            r"one-stream .* at least 8×8 cells. Received: sift with \[7, 16, 133\]",
        ),
    ],
)
def test_a_feature_that_no_network_fits(feature, message):
    with pytest.raises(tfinvert.InputError, match=message):
        inversion.build(feature)


def test_an_unknown_decoder_lists_the_known():
    feature = hog(64)
    feature.decoder = "dense"
    with pytest.raises(tfinvert.InputError, match="'dense'; there are: .*one_stream, two_stream"):
        inversion.build(feature)


def test_bad_width():
    with pytest.raises(tfinvert.InputError, match="width must be positive"):
        inversion.build(hog(64), width=0)
