"""Each file format returns the weights of a random network bit for bit."""

import functools

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests.networks.weights import writers
from tests.networks.weights.conftest import INPUT, UNITS
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.weights import Weights, assign, read, save

BFLOAT16 = tf.bfloat16.as_numpy_dtype


def assert_equal(layers, expected):
    for layer, pair in layers.items():
        for array, value in zip(pair, expected[layer], strict=True):
            assert array.dtype == np.float32 and array.flags["C_CONTIGUOUS"]
            np.testing.assert_array_equal(array, value, err_msg=layer)


@pytest.fixture(scope="module")
def zero_network():
    """Returns a variant's model whose weights are zero; units None: without dense layers."""
    build = functools.cache(
        lambda variant, units: alexnet.build(variant, input_size=INPUT[variant], units=units)
    )

    def zero(variant, units):
        network = build(variant, units)
        for variable in network.weights:
            variable.assign(np.zeros(variable.shape))
        return network

    return zero


def images(variant):
    size = INPUT[variant]
    return np.random.default_rng(0).random((2, size, size, 3), np.float32)


@pytest.fixture(scope="module")
def outputs(model):
    """Returns pool5 and the class probabilities of a variant's random model for `images`."""

    @functools.cache
    def compute(variant):
        complete = model(variant)
        both = keras.Model(complete.input, [complete.get_layer("pool5").output, complete.output])
        return both(images(variant))

    return compute


def test_file_returns_the_network(written, layers, outputs, zero_network):
    variant, path = written
    weights = read(path, "" if variant == "torchvision" else variant)
    trunk = path.suffix == ".ckpt"
    assert weights.variant == variant and weights.facts == {} and weights.input_size is None
    assert weights.units == (None if trunk else UNITS)
    assert list(weights.layers) == list(layers(variant))[: 5 if trunk else 8]
    assert_equal(weights.layers, layers(variant))
    network = zero_network(variant, weights.units)
    assign(network, weights)
    expected = outputs(variant)[0 if trunk else 1]
    np.testing.assert_array_equal(network(images(variant)), expected)


@pytest.mark.parametrize("variant", ["torchvision", "caffenet", "bvlc"])
def test_saved_weights_keep_variant_size_and_facts(variant, layers, tmp_path):
    facts = {"made": "here", "steps": 7, "of": ["a", "b"]}
    path = tmp_path / "new" / "w.safetensors"
    save(path, Weights(variant, layers(variant), INPUT[variant]), facts)
    weights = read(path)  # the file states its variant
    assert (weights.variant, weights.input_size) == (variant, INPUT[variant])
    assert weights.facts == facts
    assert_equal(weights.layers, layers(variant))
    save(path, weights)  # replaces the file and keeps its facts
    assert read(path, variant).facts == facts
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_float16_halves_the_file_size_and_rounds(layers, tmp_path):
    half, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
    weights = Weights("torchvision", layers("torchvision"))
    save(half, weights, dtype="float16")
    save(full, weights)
    assert half.stat().st_size < 0.51 * full.stat().st_size
    rounded = {
        name: [array.astype(np.float16).astype(np.float32) for array in pair]
        for name, pair in weights.layers.items()
    }
    assert_equal(read(half).layers, rounded)


def test_convolutional_trunk_round_trips(layers, tmp_path):
    trunk = dict(list(layers("bvlc").items())[:5])
    save(tmp_path / "w.safetensors", Weights("bvlc", trunk))
    assert read(tmp_path / "w.safetensors").units is None


def test_invalid_weights_are_not_saved(layers, tmp_path):
    valid = layers("torchvision")
    path = tmp_path / "w.safetensors"
    huge = {**valid, "conv2": (valid["conv2"][0], np.full(192, 1e5, np.float32))}
    incomplete = {name: valid[name] for name in list(valid)[:7]}
    for invalid, dtype, message in (
        (huge, "float16", "features.3.bias has values that are not finite"),
        (incomplete, "float32", "missing: classifier.6.weight"),
        (valid, "bfloat16", "Received: 'bfloat16'"),
    ):
        with pytest.raises(InputError, match=message):
            save(path, Weights("torchvision", invalid), dtype=dtype)
    with pytest.raises(InputError, match="ending with .safetensors"):
        save(tmp_path / "w.pth", Weights("torchvision", valid))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "convert", [lambda x: x.astype(">f4"), np.asfortranarray], ids=["big", "Fortran"]
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_byte_order_and_memory_order(convert, ending, layers, tmp_path):
    converted = {
        name: (convert(kernel), convert(bias)) for name, (kernel, bias) in layers("bvlc").items()
    }
    path = tmp_path / f"w.{ending}"
    if ending == "npy":
        writers.write_npy(path, converted)
    else:
        np.savez(path, **writers.named(converted))
    assert_equal(read(path, "bvlc").layers, layers("bvlc"))


def test_bfloat16_safetensors(layers, tmp_path):
    tensors = writers.caffe_tensors(layers("bvlc"))
    rounded = {name: x.astype(BFLOAT16) for name, x in tensors.items()}
    safetensors.numpy.save_file(rounded, tmp_path / "w.safetensors")
    kernel = read(tmp_path / "w.safetensors", "bvlc").layers["conv3"][0]
    expected = layers("bvlc")["conv3"][0].astype(BFLOAT16).astype(np.float32)
    np.testing.assert_array_equal(kernel, expected)
