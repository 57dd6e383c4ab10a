"""AlexNet: published shapes, order of layers, PyTorch's activations, invalid arguments."""

import keras
import numpy as np
import pytest
import safetensors.numpy

from tests.networks import make_alexnet_golden as golden
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.weights import assign, read

SMALL = (8, 8, 8)
# Blobs of the published networks, [height, width, channels].
CAFFE = {
    "conv1": (55, 55, 96),
    "pool1": (27, 27, 96),
    "conv2": (27, 27, 256),
    "pool2": (13, 13, 256),
    "conv3": (13, 13, 384),
    "conv4": (13, 13, 384),
    "conv5": (13, 13, 256),
    "pool5": (6, 6, 256),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
    "prob": (1000,),
}
TORCHVISION = CAFFE | {
    "conv1": (55, 55, 64),
    "pool1": (27, 27, 64),
    "conv2": (27, 27, 192),
    "pool2": (13, 13, 192),
    "conv4": (13, 13, 256),
}
SHAPES = {
    "caffenet": CAFFE | {"norm1": CAFFE["pool1"], "norm2": CAFFE["pool2"]},
    "bvlc": CAFFE | {"norm1": CAFFE["conv1"], "norm2": CAFFE["conv2"]},
    "torchvision": TORCHVISION,
}
# Parameters of the published files; grouped kernels have half of the input channels.
PARAMETERS = {"caffenet": 60_965_224, "bvlc": 60_965_224, "torchvision": 61_100_840}
ORDER = {
    "caffenet": "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2",
    "bvlc": "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2",
    "torchvision": "conv1 relu1 pool1 conv2 relu2 pool2",
}
TOP = "conv3 relu3 conv4 relu4 conv5 relu5 pool5 fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob"
variants = pytest.mark.parametrize("variant", list(alexnet.VARIANTS))


def shape(network, name):
    return tuple(network.get_layer(name).output.shape[1:])


@variants
def test_published_names_shapes_and_parameters(variant):
    with keras.StatelessScope(initialize_variables=False):  # shapes need no weights
        network = alexnet.build(variant)
        size = 224 if variant == "torchvision" else 227
        assert network.input_shape == (None, size, size, 3)
        assert {name: shape(network, name) for name in SHAPES[variant]} == SHAPES[variant]
        assert network.count_params() == PARAMETERS[variant]
        relus = {f"relu{i}": shape(network, f"conv{i}") for i in range(1, 6)}
        assert {name: shape(network, name) for name in relus} == relus


@variants
def test_order_of_layers(variant):
    names = [layer.name for layer in alexnet.build(variant, units=SMALL).layers]
    names = [name for name in names if name not in ("images", "preprocess", "flatten")]
    names = [name for name in names if not name.endswith("_pad")]
    assert names == f"{ORDER[variant]} {TOP}".split()


@variants
def test_outputs_of_the_papers_layers(variant):
    outputs = alexnet.VARIANTS[variant].outputs
    assert tuple(outputs) == alexnet.PAPER_LAYERS
    network = alexnet.build(variant, units=SMALL)
    last = {"caffenet": "norm", "bvlc": "pool", "torchvision": "pool"}[variant]
    expected = f"{last}1 {last}2 relu3 relu4 pool5 relu6 relu7 fc8 prob"
    assert " ".join(outputs.values()) == expected
    assert all(network.get_layer(name) for name in outputs.values())


def normalize(values):
    squares = np.pad(np.square(values), [(0, 0)] * 3 + [(2, 2)])
    total = sum(squares[..., i : i + values.shape[-1]] for i in range(5))
    return values / (1 + 1e-4 / 5 * total) ** 0.75


def pool(values):
    height, width = ((side - 2) // 2 + 1 for side in values.shape[1:3])  # rounded up
    pooled = np.zeros((len(values), height, width, values.shape[-1]), np.float32)
    for y, x in np.ndindex(height, width):
        pooled[:, y, x] = values[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].max((1, 2))
    return pooled


@pytest.mark.parametrize("variant", ["caffenet", "bvlc"])
def test_order_of_normalisation_and_pooling(variant):
    network = alexnet.build(variant, input_size=75, units=None)
    images = np.random.default_rng(0).random((1, 75, 75, 3), np.float32)
    taps = keras.Model(
        network.input, [network.get_layer(name).output for name in ("relu1", "norm1", "pool1")]
    )
    relu, norm, pool1 = (np.asarray(tap) for tap in taps(images))
    assert relu.max() > 50  # so that normalisation has a visible effect
    if variant == "caffenet":
        np.testing.assert_array_equal(pool1, pool(relu))
        np.testing.assert_allclose(norm, normalize(pool1), rtol=1e-5)
    else:
        np.testing.assert_allclose(norm, normalize(relu), rtol=1e-5)
        np.testing.assert_array_equal(pool1, pool(norm))


@variants
@pytest.mark.parametrize(
    "size", [63, (63, 131), *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 95, 100, 227))]
)
def test_input_sizes(variant, size):
    network = alexnet.build(variant, input_size=size, units=None)
    assert min(network.output_shape[1:3]) >= 1 and network.output_shape[-1] == 256
    sides = size if isinstance(size, tuple) else (size, size)
    images = np.full((1, *sides, 3), 0.5, np.float32)
    assert network(images).shape == (1, *network.output_shape[1:])


@variants
@pytest.mark.parametrize("size", [1, 6, 20, 30, (227, 20)])
def test_too_small_inputs(variant, size):
    with pytest.raises(InputError, match=r"too small: (conv|pool)\d .*63×63") as caught:
        alexnet.build(variant, input_size=size, units=None)
    assert "\n" not in str(caught.value)


def test_images_of_another_size_are_resized():
    network = alexnet.build("torchvision", image_size=(40, 50), input_size=63, units=None)
    assert network.input_shape == (None, 40, 50, 3)
    same = alexnet.build("torchvision", input_size=63, units=None)
    same.set_weights(network.get_weights())
    images = np.random.default_rng(0).random((2, 40, 50, 3), np.float32)
    resized = keras.ops.image.resize(images, (63, 63), antialias=True)
    np.testing.assert_allclose(network(images), same(resized), rtol=1e-4, atol=1e-5)


def test_unknown_variant():
    with pytest.raises(InputError, match="caffenet, bvlc, torchvision. Received: 'vgg'"):
        alexnet.build("vgg")


def test_dropout_applies_in_training_only():
    network = alexnet.build("torchvision", input_size=63, units=(64, 64, 4), dropout=0.9)
    images = np.random.default_rng(0).random((1, 63, 63, 3), np.float32)
    dropped = keras.Model(network.input, network.get_layer("drop6").output)
    fc6, train = dropped(images, training=False), dropped(images, training=True)
    assert np.mean(np.asarray(train) == 0) > np.mean(np.asarray(fc6) == 0)
    assert network.get_layer("drop7").rate == 0.9


@pytest.fixture(scope="module")
def taps(tmp_path_factory):
    """Our activations at each tap, with the golden weights read from torchvision's layout."""
    path = tmp_path_factory.mktemp("alexnet") / "w.safetensors"
    safetensors.numpy.save_file(golden.state_dict(), path)
    network = alexnet.build("torchvision", units=golden.UNITS)
    assign(network, read(path))
    path.unlink()
    taps = keras.Model(network.input, [network.get_layer(name).output for name in golden.TAPS])
    activations = taps(golden.images(), training=False)
    return dict(zip(golden.TAPS, map(np.asarray, activations), strict=True))


# Relative to a tap's largest value, another order of summing up to 9216 products changes 3e-6
# (measured); a wrong order of channels or of flattening changes about 1.
TOLERANCE = 1e-4


@pytest.mark.parametrize("tap", golden.TAPS)
def test_golden_activations_of_pytorch(tap, taps):
    with np.load(golden.PATH) as arrays:
        at, values, largest = (arrays[f"{tap}/{key}"] for key in ("at", "values", "largest"))
    np.testing.assert_allclose(taps[tap].ravel()[at], values, rtol=0, atol=TOLERANCE * largest)
    np.testing.assert_allclose(np.abs(taps[tap]).max(), largest, rtol=TOLERANCE)


def test_current_activations_of_pytorch(taps):
    pytest.importorskip("torch")
    for tap, values in golden.activations().items():
        np.testing.assert_allclose(
            taps[tap], values, rtol=0, atol=TOLERANCE * np.abs(values).max(), err_msg=tap
        )
