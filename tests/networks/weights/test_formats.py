"""Each format gives back what one random network holds, bit for bit."""

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


def assert_same(found, expected):
    for layer, pair in found.items():
        for array, true in zip(pair, expected[layer], strict=True):
            assert array.dtype == np.float32 and array.flags["C_CONTIGUOUS"]
            np.testing.assert_array_equal(array, true, err_msg=layer)


def test_a_file_gives_back_the_network(written, layers, model):
    variant, path = written
    weights = read(path, "" if variant == "torchvision" else variant)
    trunk = path.suffix == ".ckpt"
    assert weights.variant == variant and weights.facts == {} and weights.input_size is None
    assert weights.units == (None if trunk else UNITS)
    assert list(weights.layers) == list(layers(variant))[: 5 if trunk else 8]
    assert_same(weights.layers, layers(variant))
    size = INPUT[variant]
    network = alexnet.build(variant, input_size=size, units=weights.units)
    assign(network, weights)
    images = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    whole = model(variant)
    true = keras.Model(whole.input, whole.get_layer("pool5").output) if trunk else whole
    np.testing.assert_array_equal(network(images), true(images))


@pytest.mark.parametrize("variant", ["torchvision", "caffenet", "bvlc"])
def test_what_is_saved_is_read_with_what_is_known_of_it(variant, layers, tmp_path):
    facts = {"made": "here", "steps": 7, "of": ["a", "b"]}
    path = tmp_path / "new" / "w.safetensors"
    save(path, Weights(variant, layers(variant), INPUT[variant]), facts)
    weights = read(path)  # a file of ours says which variant it is
    assert (weights.variant, weights.input_size) == (variant, INPUT[variant])
    assert weights.facts == facts
    assert_same(weights.layers, layers(variant))
    save(path, weights)  # over the old one, its facts kept
    assert read(path, variant).facts == facts
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_float16_halves_the_file_and_rounds(layers, tmp_path):
    half, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
    weights = Weights("torchvision", layers("torchvision"))
    save(half, weights, dtype="float16")
    save(full, weights)
    assert half.stat().st_size < 0.51 * full.stat().st_size
    rounded = {
        name: [array.astype(np.float16).astype(np.float32) for array in pair]
        for name, pair in weights.layers.items()
    }
    assert_same(read(half).layers, rounded)


def test_a_trunk_is_saved_as_a_trunk(layers, tmp_path):
    trunk = dict(list(layers("bvlc").items())[:5])
    save(tmp_path / "w.safetensors", Weights("bvlc", trunk))
    assert read(tmp_path / "w.safetensors").units is None


def test_what_could_not_be_read_is_not_saved(layers, tmp_path):
    whole = layers("torchvision")
    path = tmp_path / "w.safetensors"
    huge = {**whole, "conv2": (whole["conv2"][0], np.full(192, 1e5, np.float32))}
    part = {name: whole[name] for name in list(whole)[:7]}
    for layers_, dtype, word in (
        (huge, "float16", "features.3.bias holds values that are not finite"),
        (part, "float32", "missing: classifier.6.weight"),
        (whole, "bfloat16", "Received: 'bfloat16'"),
    ):
        with pytest.raises(InputError, match=word):
            save(path, Weights("torchvision", layers_), dtype=dtype)
    with pytest.raises(InputError, match="ending with .safetensors"):
        save(tmp_path / "w.pth", Weights("torchvision", whole))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [lambda x: x.astype(">f4"), np.asfortranarray], ids=["big", "F"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_arrays_in_another_order_of_bytes_or_axes(how, ending, layers, tmp_path):
    other = {name: (how(kernel), how(bias)) for name, (kernel, bias) in layers("bvlc").items()}
    path = tmp_path / f"w.{ending}"
    if ending == "npy":
        writers.write_npy(path, other)
    else:
        np.savez(path, **writers.named(other))
    assert_same(read(path, "bvlc").layers, layers("bvlc"))


def test_bfloat16_safetensors(layers, tmp_path):
    tensors = writers.caffe_tensors(layers("bvlc"))
    rounded = {name: x.astype(BFLOAT16) for name, x in tensors.items()}
    safetensors.numpy.save_file(rounded, tmp_path / "w.safetensors")
    found = read(tmp_path / "w.safetensors", "bvlc").layers["conv3"][0]
    true = layers("bvlc")["conv3"][0].astype(BFLOAT16).astype(np.float32)
    np.testing.assert_array_equal(found, true)
