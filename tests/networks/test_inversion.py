"""The paper's inversion networks: layer tables, output sizes, initialisation, errors."""

import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.features import HostFeature
from tfinvert.networks import alexnet, inversion
from tfinvert.networks.blocks import enlarge_grid, upconv

slow = pytest.mark.slow
build = functools.partial(inversion.build, network="paper")


def hog(side):
    return features.get("hog", image_shape=(side, side, 3))


def lbp(side, cell_size=16):
    return features.get("lbp", image_shape=(side, side, 3), cell_size=cell_size)


def sift(side):
    return features.get("sift", image_shape=(side, side, 3))


def fake_layer(shape, side, name="layer"):
    """Creates the attributes of a layer's feature, a grid or a vector, for an image size."""
    size = (side, side) if isinstance(side, int) else side
    return types.SimpleNamespace(
        name=f"alexnet/{name}",
        image_shape=(*size, 3),
        spec=tf.TensorSpec(shape),
        decoder="convolutional" if len(shape) == 3 else "fully_connected",
    )


def grid_features(test):
    features = [hog(64), lbp(128), sift(64)]
    return pytest.mark.parametrize("feature", features, ids=lambda feature: feature.name)(test)


def standard_normal(feature, batch):
    shape = (batch, *feature.spec.shape)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# The paper's supplementary tables for 256 pixels: streams and channels, and kernels where they are
# legible. Values: kernel, stride, rows and columns, channels.
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
    with keras.StatelessScope(initialize_variables=False):  # shapes need no weights
        network = build(feature)
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
        *((name, 200, 200) for name in ("hog", "lbp:cell_size=8", "sift")),
        ("lbp", 200, 192),
        *(
            pytest.param(name, side, side, marks=slow)
            for name in ("hog", "lbp:cell_size=8", "sift")
            for side in (32, 64, 96, 128, 256)
        ),
        *(pytest.param("lbp", side, side, marks=slow) for side in (64, 96, 128, 256)),
    ],
)
def test_output_sizes_of_square_images(name, side, expected):
    feature = features.get(name, image_shape=(side, side, 3))
    network = build(feature, width=0.03)
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
        pytest.param("lbp:cell_size=8", (255, 32), (248, 32), marks=slow),
        pytest.param("lbp", (150, 100), (144, 96), marks=slow),
        pytest.param("lbp", (255, 81), (240, 80), marks=slow),
        ("sift", (66, 101), (68, 104)),
        pytest.param("sift", (101, 33), (104, 36), marks=slow),
        pytest.param("sift", (256, 32), (256, 32), marks=slow),
    ],
)
def test_output_sizes_of_odd_grids_and_oblong_images(name, size, expected):
    feature = features.get(name, image_shape=(*size, 3))
    network = build(feature, width=0.03)
    assert network.output_shape == (None, *expected, 3)
    assert network(standard_normal(feature, 2)).shape == (2, *expected, 3)


def test_requested_output_sizes():
    assert build(hog(64), (128, 128), 0.0625).output_shape == (None, 128, 128, 3)
    with pytest.raises(tfinvert.InputError, match="16×16 or 32×32 .* Received: 60×60"):
        build(hog(64), (60, 60))
    assert build(lbp(64), (128, 128), 0.03).output_shape == (None, 128, 128, 3)
    assert build(sift(64), (32, 32), 0.03).output_shape == (None, 32, 32, 3)
    with pytest.raises(tfinvert.InputError, match="32×32 or 64×64 .* Received: 60×64"):
        build(sift(64), (60, 64))


@grid_features
def test_width_scales_all_layers_but_the_last(feature):
    quarter = build(feature, width=0.25)
    eighth = build(feature, width=0.125)
    for layer, narrow in zip(quarter.layers, eighth.layers, strict=True):
        if hasattr(layer, "filters") and layer.name != "image":
            assert narrow.filters == layer.filters // 2
    assert eighth.get_layer("image").filters == 3


@grid_features
def test_leaky_relu_after_all_layers_but_the_last(feature):
    network = build(feature, width=0.0625)
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


@grid_features
def test_he_initialisation_preserves_the_variance(feature):
    keras.utils.set_random_seed(0)
    network = build(feature, width=0.5)
    names = [layer.name for layer in network.layers if layer.name.endswith("_relu")]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in names])
    for name, values in zip(names, probe(standard_normal(feature, 16)), strict=True):
        square = float(tf.reduce_mean(tf.square(values)))
        assert 0.3 < square < 3, f"{name}: mean square {square}"  # borders and 0.2 count


@grid_features
def test_starts_near_grey(feature):
    keras.utils.set_random_seed(0)
    images = build(feature, width=0.25)(standard_normal(feature, 4))
    assert abs(float(tf.reduce_mean(images)) - 0.5) < 0.1
    assert float(tf.math.reduce_std(images)) < 0.3


@grid_features
def test_gradients_reach_all_variables(feature):
    network = build(feature, width=0.125)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(standard_normal(feature, 2))))
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(loss, network.trainable_variables),
        strict=True,
    ):
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path


@grid_features
def test_central_pixel_depends_on_the_whole_grid(feature):
    network = build(feature, width=0.0625)
    grid = tf.constant(standard_normal(feature, 1))
    rows, columns = (side // 2 for side in network.output_shape[1:3])
    with tf.GradientTape() as tape:
        tape.watch(grid)
        middle = tf.reduce_sum(network(grid)[:, rows, columns])
    influence = tf.reduce_max(tf.abs(tape.gradient(middle, grid)), -1)
    assert float(tf.reduce_min(influence)) > 0


def test_upconvolution_is_unpooling_with_zeros_and_a_convolution():
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(inputs, upconv(inputs, 3, 5, "up", linear=True))
    kernel = model.get_layer("up").get_weights()[0]  # [5, 5, out, in]
    image = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype(np.float32)
    unpooled = np.zeros((1, 10, 10, 2), np.float32)
    unpooled[:, ::2, ::2] = image
    # A transposed convolution adds a kernel at each value, which is a convolution (not a
    # cross-correlation), so the kernel is flipped.
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    padded = np.pad(unpooled, [(0, 0), (2, 2), (2, 2), (0, 0)])
    expected = np.stack(
        [
            [np.einsum("ijc,ijco->o", padded[0, y : y + 5, x : x + 5], flipped) for x in range(10)]
            for y in range(10)
        ]
    )
    bias = model.get_layer("up").get_weights()[1]
    output = model(image)[0].numpy()
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    close = [
        np.allclose(
            output[2:8, 2:8], (expected + bias)[2 + dy : 8 + dy, 2 + dx : 8 + dx], atol=1e-5
        )
        for dy, dx in offsets
    ]
    assert sum(close) == 1  # up to the framework's choice of the pixel in a block


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
def test_features_that_no_network_fits(feature, message):
    with pytest.raises(tfinvert.InputError, match=message):
        build(feature)


def test_unknown_decoder():
    feature = hog(64)
    feature.decoder = "dense"
    with pytest.raises(tfinvert.InputError, match="one_stream, two_stream. Received: 'dense'"):
        build(feature)


def test_width_zero():
    with pytest.raises(tfinvert.InputError, match="width must be positive"):
        build(hog(64), width=0)


# Shapes of AlexNet's layers by input size: 224 and 127 for torchvision, 227 for Caffe.
GRIDS = {
    224: {
        "conv1": (27, 27, 64),
        "conv2": (13, 13, 192),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 256),
        "conv5": (6, 6, 256),
    },
    227: {
        "conv1": (27, 27, 96),
        "conv2": (13, 13, 256),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 384),
        "conv5": (6, 6, 256),
    },
    127: {
        "conv1": (15, 15, 64),
        "conv2": (7, 7, 192),
        "conv3": (7, 7, 384),
        "conv4": (7, 7, 256),
        "conv5": (3, 3, 256),
    },
}
# The paper's sizes of reconstructions from AlexNet's layers.
PAPER_SIZES = {"conv1": 216, "conv2": 208, "conv3": 208, "conv4": 208, "conv5": 192}
VECTORS = ("fc6", "fc7", "fc8")


def alexnet_layers(*input_sizes, slow):
    """Parametrises a test with all layers; those at the input sizes `slow` are slow tests."""
    return pytest.mark.parametrize(
        ("input_size", "name"),
        [
            pytest.param(side, name, marks=[pytest.mark.slow] if side in slow else [])
            for side in (*input_sizes, *slow)
            for name in (*GRIDS[side], *VECTORS)
        ],
    )


def fake_alexnet_layer(input_size, name, image_size):
    return fake_layer(
        GRIDS[input_size].get(name, (1000 if name == "fc8" else 4096,)), image_size, name
    )


@pytest.mark.parametrize("input_size", GRIDS)
def test_grids_of_alexnet(input_size):
    variant = "caffenet" if input_size == 227 else "torchvision"
    network = alexnet.build(variant, input_size=input_size, units=None)
    for name, shape in GRIDS[input_size].items():
        assert network.get_layer(alexnet.VARIANTS[variant].outputs[name]).output.shape[1:] == shape


@alexnet_layers(227, slow=(224,))
@pytest.mark.parametrize(
    "image_size", [227, pytest.param(224, marks=slow), pytest.param(256, marks=slow)]
)
def test_output_sizes_of_the_paper(input_size, name, image_size):
    network = build(fake_alexnet_layer(input_size, name, image_size), width=0.02)
    side = PAPER_SIZES.get(name, 128)
    assert network.output_shape == (None, side, side, 3)
    assert "enlarge" not in {layer.name for layer in network.layers}


# The paper's channels after conv5 and the fully connected layers; for the other layers, the last
# channels are the same. Values: rows and columns, channels.
UPCONVOLUTIONS = {
    "conv5": [(12, 256), (24, 128), (48, 64), (96, 32), (192, 3)],
    "conv3": [(26, 128), (52, 64), (104, 32), (208, 3)],
    "conv1": [(54, 64), (108, 32), (216, 3)],
    "fc6": [(8, 256), (16, 128), (32, 64), (64, 32), (128, 3)],
}


@pytest.mark.parametrize("name", UPCONVOLUTIONS)
def test_up_convolutions_of_the_paper(name):
    network = build(fake_alexnet_layer(227, name, 227), hidden_units=8 if name == "fc6" else 0)
    table = []
    for each in network.layers:
        if isinstance(each, keras.layers.Conv2DTranspose):
            assert (each.kernel_size, each.strides) == ((5, 5), (2, 2))
            table.append((each.output.shape[1], each.filters))
    assert table == UPCONVOLUTIONS[name]
    convolutions = [each for each in network.layers if type(each) is keras.layers.Conv2D]
    grid = GRIDS[227].get(name)
    kernels = [(each.kernel_size, each.filters) for each in convolutions]
    assert kernels == 3 * [((3, 3), 256)] * bool(grid)
    if grid:
        assert {each.output.shape[1] for each in convolutions} == {grid[0]}
    else:
        assert [network.get_layer(f"dense{i}").units for i in (1, 2, 3)] == [8, 8, 4 * 4 * 256]


SMALL_SIZES = [(32, 32), (96, 96), (64, 48), (128, 128)]


@alexnet_layers(127, slow=(224,))
def test_output_size_of_images_of_64_pixels(input_size, name):
    feature = fake_alexnet_layer(input_size, name, 64)
    network = build(feature, width=0.02)
    assert network.output_shape == (None, 64, 64, 3)
    assert network(standard_normal(feature, 2)).shape == (2, 64, 64, 3)


@pytest.mark.parametrize(
    "size",
    [(48, 64), *(pytest.param((h, w), marks=slow) for h, w in SMALL_SIZES)],
)
@pytest.mark.parametrize("name", [*GRIDS[127], "fc6"])
def test_output_sizes_of_other_small_images(name, size):
    network = build(fake_alexnet_layer(127, name, size), width=0.02)
    assert network.output_shape == (None, *size, 3)


@pytest.mark.parametrize("name", [*GRIDS[127], "fc6"])
def test_requested_output_sizes_of_layers(name):
    feature = fake_alexnet_layer(127, name, 224)
    for size in [(64, 64), (96, 96), (48, 64), (128, 128)]:
        assert build(feature, size, 0.02).output_shape == (None, *size, 3)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("conv1", (127, 127), (120, 120)),
        ("fc6", (50, 101), (48, 104)),
        pytest.param("conv1", (100, 100), (100, 100), marks=slow),
        pytest.param("conv3", (100, 100), (112, 112), marks=slow),
        pytest.param("conv5", (127, 127), (96, 96), marks=slow),
        pytest.param("fc6", (127, 127), (128, 128), marks=slow),
        pytest.param("fc6", (100, 100), (96, 96), marks=slow),
        pytest.param("fc6", (300, 200), (128, 128), marks=slow),
    ],
)
def test_closest_output_sizes(name, size, expected):
    network = build(fake_alexnet_layer(127, name, size), width=0.02)
    assert network.output_shape == (None, *expected, 3)


@pytest.mark.parametrize("side", [200, *(pytest.param(n, marks=slow) for n in (192, 215))])
@pytest.mark.parametrize("name", ["conv1", "conv3", "conv5"])
def test_images_close_to_the_papers_size(name, side):
    network = build(fake_alexnet_layer(227, name, side), width=0.02)
    assert abs(network.output_shape[1] - side) <= 24


def test_units_set_the_first_two_layers():
    feature = fake_alexnet_layer(227, "fc6", 64)
    with keras.StatelessScope(initialize_variables=False):  # units need no weights
        networks = {
            (width, units): build(feature, None, width, units)
            for width, units in [(0.125, 0), (0.125, 24), (0.0625, 24)]
        }
    units_of_layers = {
        key: [network.get_layer(f"dense{i}").units for i in (1, 2, 3)]
        for key, network in networks.items()
    }
    assert units_of_layers == {
        (0.125, 0): [512, 512, 4 * 4 * 32],
        (0.125, 24): [24, 24, 4 * 4 * 32],
        (0.0625, 24): [24, 24, 4 * 4 * 16],
    }


@pytest.mark.parametrize("name", ["conv2", "fc7"])
def test_width_scales_the_networks_for_layers(name):
    feature = fake_alexnet_layer(127, name, 64)
    full, half = (build(feature, width=width, hidden_units=0) for width in (0.125, 0.0625))
    for layer, narrow in zip(full.layers, half.layers, strict=True):
        for count in ("filters", "units"):
            if hasattr(layer, count) and layer.name != "image":
                assert getattr(narrow, count) == getattr(layer, count) // 2
    assert half.get_layer("image").filters == 3


@pytest.mark.parametrize(
    ("feature", "options", "message"),
    [
        (
            fake_layer((7, 7, 8), 64, "conv2"),
            {"hidden_units": 8},
            "the network for alexnet/conv2 has no fully connected layers, so --hidden_units must "
            "be 0. Received: 8",
        ),
        (hog(64), {"hidden_units": 8}, "the network for hog has no fully connected layers"),
        (sift(64), {"hidden_units": 8}, "the network for sift has no fully connected layers"),
        (
            fake_layer((16,), 64),
            {"hidden_units": -1},
            "must not be negative. Received: -1",
        ),
        (
            fake_layer((7, 9, 8), 64, "conv2"),
            {"output_size": (65, 64)},
            "the network for alexnet/conv2 on 7×9 cells produces images with even sides from 14×18 "
            "up. Received: 65×64",
        ),
        (fake_layer((7, 9, 8), 64), {"output_size": (64, 16)}, "from 14×18 up. Received: 64×16"),
        (
            fake_layer((16,), 64, "fc6"),
            {"output_size": (100, 100)},
            "the network for alexnet/fc6 upsamples 4 times and produces images whose sides are "
            "multiples of 16. Received: 100×100",
        ),
        (
            fake_layer((16,), 64),
            {"output_size": (9, 8)},
            "1 times .* of 2. Received: 9×8",
        ),
        (fake_layer((16,), 64), {"width": -1.0}, "width must be positive. Received: -1.0"),
    ],
)
def test_invalid_arguments(feature, options, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        build(feature, **options)
    assert "\n" not in str(error.value)


LAYERS = pytest.mark.parametrize(
    "feature",
    [
        fake_layer((7, 7, 32), 64, "conv2"),
        fake_layer((6, 6, 64), 64, "conv5"),
        fake_layer((128,), 64, "fc6"),
    ],
    ids=lambda feature: feature.name,
)


@LAYERS
def test_networks_for_layers_start_near_grey(feature):
    keras.utils.set_random_seed(0)
    images = build(feature, width=0.25)(standard_normal(feature, 16))
    assert abs(float(tf.reduce_mean(images)) - 0.5) < 0.1
    assert float(tf.math.reduce_std(images)) < 0.3


@LAYERS
def test_networks_for_layers_preserve_the_variance(feature):
    keras.utils.set_random_seed(0)
    network = build(feature, width=0.5)
    names = [layer.name for layer in network.layers if layer.name.endswith("_relu")]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in names])
    for name, values in zip(names, probe(standard_normal(feature, 32)), strict=True):
        square = float(tf.reduce_mean(tf.square(values)))
        assert 0.2 < square < 3, f"{name}: mean square {square}"


@pytest.mark.parametrize(("before", "after"), [((7, 7), (8, 8)), ((13, 12), (16, 16))])
def test_enlarge_grid_preserves_the_variance(before, after):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*before, 64))
    model = keras.Model(inputs, enlarge_grid(inputs, 96, after, "enlarge"))
    values = np.random.default_rng(0).normal(size=(32, *before, 64)).astype(np.float32)
    enlarged = model(values).numpy()
    assert enlarged.shape == (32, *after, 96)
    # He initialisation preserves the mean square where the whole kernel meets values; at borders it
    # meets fewer. The slope 0.2 adds 4 %.
    expected = 1.04 * np.prod(before) / np.prod(after)
    assert 0.85 * expected < np.square(enlarged).mean() < 1.15 * expected


@LAYERS
def test_gradients_reach_all_variables_of_the_networks_for_layers(feature):
    network = build(feature, width=0.0625)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(standard_normal(feature, 2))))
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path
