"""Several layers of a network as one feature, against the layers by themselves."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tests.refusals import refused
from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion

RANDOM = "weights=random,variant=caffenet,input_size=63"
VECTORS = f"alexnet/fc6+fc8:{RANDOM},units=24"


def enlarged(grid, rows, columns):
    """The grid with each cell of the larger one taken from the cell below its centre."""
    i = ((np.arange(rows) + 0.5) * grid.shape[1] / rows).astype(int)
    j = ((np.arange(columns) + 0.5) * grid.shape[2] / columns).astype(int)
    return grid[:, i][:, :, j]


def joined(name, layers, options, images):
    parts = [features.get(f"{name}/{x}:{options}")(images).numpy() for x in layers]
    if parts[0].ndim == 4:
        rows, columns = (max(part.shape[axis] for part in parts) for axis in (1, 2))
        parts = [enlarged(part, rows, columns) for part in parts]
    return np.concatenate(parts, -1)


def check_values(name, layers, options, images):
    feature = features.get(f"{name}/{'+'.join(layers)}:{options}")
    expected = joined(name, layers, options, images)
    assert feature.name == f"{name}/{'+'.join(layers)}"
    assert feature.spec.shape == expected.shape[1:]
    np.testing.assert_allclose(feature(images), expected, atol=1e-5 * np.abs(expected).max())
    assert feature.in_graph and feature.differentiable
    return feature


def test_layers_of_alexnet(photos):
    feature = check_values("alexnet", ["conv1", "conv3", "conv5"], "", photos[:2])
    assert (feature.standardize, feature.decoder) == ("channel", "convolutional")
    assert feature.portable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers", "options"),
    [
        ("squeezenet", ["fire3", "fire9", "pool1"], ""),
        ("efficientnet_lite0", ["block2b_add", "top_activation"], "input_size=64"),
        ("mobilenet_v2", ["block_3_expand_relu", "out_relu"], "weights=random,input_size=64"),
        ("resnet50", ["conv2_block3_out", "conv4_block1_out"], "weights=random,input_size=64"),
        ("alexnet", ["fc6", "fc7"], ""),
    ],
)
def test_layers_of_other_networks(photos, name, layers, options):
    try:
        check_values(name, layers, options, photos[:2])
    except tfinvert.InputError as error:
        if "pip install" not in str(error):
            raise
        pytest.skip(str(error))


def test_each_vector_is_standardised_by_itself(photos):
    feature = features.get(VECTORS)
    assert (feature.standardize, feature.parts) == ("layer", (24, 1000))
    assert feature.decoder == "fully_connected"
    values = [
        features.get(f"alexnet/{x}:{RANDOM},units=24")(photos).numpy() for x in ("fc6", "fc8")
    ]
    np.testing.assert_allclose(feature(photos), np.concatenate(values, 1), atol=1e-6)
    found = Standardization.measure(feature, [feature(photos[:5]), feature(photos[5:])])
    means = np.concatenate([np.full(x.shape[1], x.mean()) for x in values])
    scales = np.concatenate([np.full(x.shape[1], x.std()) for x in values])
    np.testing.assert_allclose(found.mean, means, atol=1e-6)
    np.testing.assert_allclose(found.scale, scales, rtol=1e-4)


def gradient(feature, images, weights):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(feature(images) * weights)
    return tape.gradient(value, images).numpy()


def test_the_gradient_is_the_sum_of_the_gradients_of_the_layers(photos):
    layers = ("conv1", "conv5")
    both, *parts = (features.get(f"alexnet/{x}:{RANDOM}") for x in ("+".join(layers), *layers))
    weights = np.random.default_rng(0).normal(size=(1, *both.spec.shape)).astype(np.float32)
    rows, columns, _ = both.spec.shape
    expected, begin = 0.0, 0
    for part in parts:
        end = begin + part.spec.shape[-1]
        # The transpose of enlarging a grid: each cell receives the weights of its copies.
        count = rows * columns
        cells = np.arange(np.prod(part.spec.shape[:2])).reshape(1, *part.spec.shape[:2], 1)
        copies = enlarged(cells, rows, columns).reshape(count)
        own = np.zeros((cells.size, end - begin), np.float32)
        np.add.at(own, copies, weights[..., begin:end].reshape(count, -1))
        expected += gradient(part, photos[:1], own.reshape(1, *part.spec.shape))
        begin = end
    found = gradient(both, photos[:1], weights)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_identity_depends_on_the_layers_and_their_order(tmp_path):
    names = ["conv2", "conv2+conv3", "conv3+conv2", "conv1+conv3"]
    identities = [features.get(f"alexnet/{x}:{RANDOM}").identity() for x in names]
    assert len({json.dumps(each) for each in identities}) == len(names)


def test_only_vectors_have_the_stem_of_their_layers(photos):
    vectors, grids = features.get(VECTORS), features.get(f"alexnet/conv4+conv5:{RANDOM}")
    stem, tail = vectors.stem()
    assert stem.name == "alexnet/conv5"
    np.testing.assert_allclose(tail(stem(photos[:2])), vectors(photos[:2]), atol=1e-6)
    assert grids.stem().feature is grids


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("conv1+fc6", ["grids of known size can be joined with each other", "[7, 7, 96], [24]"]),
        ("fc8+probabilities", ["probabilities cannot be joined", "before the softmax"]),
        ("conv1+conv1", ["has each layer once"]),
        ("conv1+relu9", ["no layer alexnet/relu9; choose one of conv1"]),
        ("conv1+", ["no layer alexnet/; choose one of"]),
    ],
)
def test_layers_that_cannot_be_joined(layer, words):
    refused(lambda: features.get(f"alexnet/{layer}:{RANDOM},units=24"), *words)


@pytest.mark.parametrize("name", [f"alexnet/conv3+conv5:{RANDOM}", VECTORS])
def test_save_and_load(photos, tmp_path, name):
    feature = features.get(name)
    standardization = Standardization.measure(feature, [feature(photos[:4])])
    inverter = Inverter(feature, standardization, inversion.build(feature, width=0.1))
    inverter.save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    assert loaded.feature.name == feature.name and loaded.feature.parts == feature.parts
    expected = inverter.reconstruct(photos[:2])
    np.testing.assert_allclose(loaded.reconstruct(photos[:2]), expected, atol=1e-6)
    values = loaded.encode(photos[:2])
    np.testing.assert_allclose(values, feature(photos[:2]), atol=1e-5)


def test_a_layer_of_a_file_with_a_plus_in_its_name_and_tokens(tmp_path, photos):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 8, 8, name="patches")(inputs)
    x = keras.layers.Reshape((16, 4), name="a+b")(x)
    x = keras.layers.Dense(6, name="tokens")(x)
    path = tmp_path / "own.keras"
    keras.Model(inputs, x).save(path)
    assert features.get(f"keras/a+b:model={path}").spec.shape == (4, 4, 4)
    feature = check_values("keras", ["tokens", "patches"], f"model={path}", photos[:2])
    assert feature.spec.shape == (4, 4, 10)
    message = "no layer 'other'"
    refused(lambda: features.get(f"keras/tokens+other:model={path}"), message)


@pytest.mark.slow
def test_training_reduces_the_error(photos):
    model = tfinvert.InversionModel("alexnet/conv1+conv3+conv5", image_size=64, width=0.25)
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(photos, batch_size=16, epochs=6, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
