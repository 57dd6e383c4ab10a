"""The layers of published networks, compared with NumPy loops and Keras' preprocessing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfinvert.errors import InputError
from tfinvert.networks import layers


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"), [(5, 1e-4, 0.75, 1.0), (3, 0.5, 0.5, 2.0), (1, 0.1, 1.0, 1.0)]
)
def test_response_normalisation_as_in_caffe(size, alpha, beta, k):
    x = normal(2, 3, 4, 7) * 50
    expected = np.empty_like(x, np.float64)
    for at in np.ndindex(*x.shape):
        channel = at[-1]
        around = range(max(0, channel - size // 2), min(7, channel + size // 2 + 1))
        total = sum(float(x[(*at[:3], i)]) ** 2 for i in around)
        expected[at] = x[at] / (k + alpha / size * total) ** beta
    normalized = layers.LocalResponseNormalization(size, alpha, beta, k)(x)
    np.testing.assert_allclose(normalized, expected, rtol=1e-5)


def test_response_normalisation_as_in_tensorflow_with_its_alpha():
    x = normal(2, 5, 5, 96) * 50
    expected = tf.nn.local_response_normalization(x, 2, bias=1.0, alpha=2e-5, beta=0.75)
    np.testing.assert_allclose(layers.LocalResponseNormalization()(x), expected, rtol=1e-5)


@pytest.mark.parametrize(("groups", "stride", "padding"), [(2, 1, "same"), (3, 2, "valid")])
def test_grouped_convolution(groups, stride, padding):
    x, kernel, bias = normal(1, 7, 6, 6), normal(3, 3, 6 // groups, 12, seed=1), normal(12, seed=2)
    layer = layers.GroupedConv2D(12, 3, stride, padding, groups=groups)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]) if padding == "same" else x
    height, width = ((side - 3) // stride + 1 for side in wide.shape[1:3])
    expected = np.zeros((1, height, width, 12))
    per = 12 // groups
    for y, x_, out in np.ndindex(height, width, 12):
        first = out // per * (6 // groups)
        patch = wide[0, y * stride : y * stride + 3, x_ * stride : x_ * stride + 3]
        patch = patch[..., first : first + 6 // groups]
        expected[0, y, x_, out] = np.sum(patch * kernel[..., out], dtype=np.float64) + bias[out]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def nodes(path):
    """Yields the ops of a SavedModel and its functions, with their attributes."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in model.meta_graphs:
        yield from graph.graph_def.node
        for function in graph.graph_def.library.function:
            yield from function.node_def
            yield function  # a function may also require XLA


def requires_xla(path):
    return any(
        getattr(node, "op", "").startswith("Xla") or node.attr["_XlaMustCompile"].b
        for node in nodes(path)
    )


@pytest.mark.parametrize("kind", [layers.GroupedConv2D, keras.layers.Conv2D])
def test_grouped_convolution_does_not_require_xla(kind, tmp_path):
    inputs = keras.Input((5, 5, 4))
    network = keras.Model(inputs, kind(6, 3, groups=2, name="conv2")(inputs))
    network.export(tmp_path / "m", verbose=False)
    # Keras' own layer requires it.
    assert requires_xla(tmp_path / "m") == (kind is keras.layers.Conv2D)


# The modes of Keras, whose input is in [0, 255].
@pytest.mark.parametrize("kind", ["tf", "torch", "caffe"])
def test_preprocessing_as_in_keras_applications(kind):
    images = np.random.default_rng(0).random((2, 5, 6, 3)).astype(np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(
        images * np.float32(255), mode=kind
    )
    found = layers.Preprocess((5, 6), kind)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_preprocessing_that_keras_lacks():
    images = np.random.default_rng(0).random((1, 2, 2, 3)).astype(np.float32)
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    others = {
        "unit": images,
        "bytes": images * 255,
        "caffe_rounded": images[..., ::-1] * 255 - np.array([104.0, 117.0, 123.0]),
        "clip": (images - np.array(mean)) / deviation,
        "lite": (images * 255 - 127) / 128,
    }
    for kind, expected in others.items():
        found = layers.Preprocess((2, 2), kind)(images)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4, err_msg=kind)
    assert {"tf", "torch", "caffe", *others} == set(layers.PREPROCESSING)


def test_preprocessing_resizes():
    layer = layers.Preprocess((2, 2), "unit")
    checks = np.indices((8, 8)).sum(0)[None, ..., None] % 2 * np.ones(3, np.float32)
    np.testing.assert_allclose(layer(checks), 0.5, atol=0.07)  # antialiased: all grey
    assert layer.compute_output_shape((None, None, None, 3)) == (None, 2, 2, 3)


def test_unknown_preprocessing():
    with pytest.raises(InputError, match="unit, bytes, tf, torch, caffe, .*Received: 'vgg'"):
        layers.Preprocess((2, 2), "vgg")


@pytest.mark.parametrize("height", [2, 3, 4, 5, 6, 13, 14])
@pytest.mark.parametrize("width", [3, 8])
def test_ceil_pooling_as_in_caffe(height, width):
    x = abs(normal(2, height, width, 3))
    inputs = keras.Input(x.shape[1:])
    network = keras.Model(inputs, layers.ceil_max_pool(inputs, "pool"))
    counts = [-(-(side - 3) // 2) + 1 for side in (height, width)]
    expected = np.empty((2, *counts, 3), np.float32)
    for y, x_ in np.ndindex(*counts):
        expected[:, y, x_] = x[:, 2 * y : 2 * y + 3, 2 * x_ : 2 * x_ + 3].max((1, 2))
    np.testing.assert_array_equal(network(x), expected)


def test_layers_are_serializable():
    inputs = keras.Input((9, 9, 3))
    x = layers.Preprocess((8, 8), "caffe_rounded")(inputs)
    x = layers.GroupedConv2D(6, 3, groups=3, padding="same", activation="relu")(x)
    x = layers.LocalResponseNormalization(3, 0.5, 0.6, 1.5)(x)
    network = keras.Model(inputs, layers.ceil_max_pool(x, "pool"))
    again = keras.models.model_from_json(network.to_json())
    again.set_weights(network.get_weights())
    images = np.random.default_rng(0).random((2, 9, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(network(images), again(images))
    for layer in network.layers:
        assert type(again.get_layer(layer.name)) is type(layer)
        assert again.get_layer(layer.name).get_config() == layer.get_config()
