"""HOG: values against VLFeat's C library, execution modes and errors."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import vlfeat

import tfinvert
from tfinvert import features
from tfinvert.data.photos import load_photograph
from tfinvert.features.hog import cells_per_side, hog

GOLDEN = np.load(pathlib.Path(__file__).with_name("hog_golden.npz"))
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})


def share_that_differs(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    return np.mean(np.abs(ours - theirs) > tolerance)


# Compiling takes seconds, so most compiled cases are in the slow tier.
EAGER = [pytest.param(case, False, id=f"eager-{case}") for case in CASES]
COMPILED = [
    pytest.param(case, True, id=f"xla-{case}", marks=[pytest.mark.slow] * (case != "small_color"))
    for case in CASES
]


@pytest.mark.parametrize(("case", "compiled"), EAGER + COMPILED)
def test_equals_golden_vectors_of_vlfeat(case, compiled):
    image = GOLDEN[f"{case}/image"][np.newaxis] / np.float32(255)
    function = tf.function(hog, jit_compile=True) if compiled else hog
    ours = function(tf.constant(image)).numpy()[0]
    assert share_that_differs(ours, GOLDEN[f"{case}/hog"]) <= 0.005


@pytest.mark.parametrize(
    ("height", "width", "channels", "cell"),
    [(64, 64, 1, 8), (67, 101, 1, 8), (250, 131, 3, 8), (256, 256, 3, 8), (33, 20, 1, 4)],
)
def test_equals_the_installed_vlfeat(height, width, channels, cell):
    vl = vlfeat.library()
    if vl is None:
        pytest.skip("libvl.so.1 is not installed")
    image = load_photograph("coffee")[40 : 40 + height, 60 : 60 + width, :channels] / np.float32(
        255
    )
    ours = hog(tf.constant(image[np.newaxis]), cell).numpy()[0]
    assert share_that_differs(ours, vlfeat.hog(vl, image, cell)) <= 0.005


def test_batch_equals_single_images(photos):
    batch = hog(tf.constant(photos[:5]))
    single = tf.concat([hog(tf.constant(photos[i : i + 1])) for i in range(5)], 0)
    np.testing.assert_allclose(batch, single, atol=1e-6)


def test_mirrored_image_has_mirrored_grid_and_orientations(photos):
    # Noise, because exactly vertical gradients are ties between two directions.
    noise = np.random.default_rng(0).normal(0, 1e-3, photos[:8].shape)
    images = (photos[:8] + noise).astype(np.float32)
    first = hog(tf.constant(images))
    mirrored = hog(tf.constant(images[:, :, ::-1]))[:, :, ::-1]
    directed = [(9 - k) % 18 for k in range(18)]
    undirected = [18 + (9 - k) % 9 for k in range(9)]
    expected = tf.gather(first, [*directed, *undirected, 28, 27, 30, 29], axis=-1)
    assert share_that_differs(mirrored.numpy(), expected.numpy()) <= 0.005


def test_constant_images_give_zeros():
    np.testing.assert_allclose(hog(tf.fill((1, 64, 64, 3), 0.3)), 0.0, atol=1e-5)


def test_gradient_is_finite_even_on_a_flat_image(photos):
    for images in (photos[:2], np.full((2, 64, 64, 3), 0.5, np.float32)):
        images = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(tf.square(hog(images)))
        assert np.isfinite(tape.gradient(value, images)).all()


@pytest.mark.parametrize("shape", [(64, 64), (61, 90), (256, 128), (12, 12)])
@pytest.mark.parametrize("color", [False, True])
def test_output_has_the_shape_of_the_spec(shape, color):
    feature = features.get("hog", image_shape=(*shape, 3), color=color)
    images = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    assert feature(images).shape == (2, *feature.spec.shape)
    assert feature.spec.shape == (cells_per_side(shape[0]), cells_per_side(shape[1]), 31)


def test_grey_hog_ignores_colour_and_colour_hog_does_not(photos):
    swapped = tf.repeat(tf.image.rgb_to_grayscale(photos), 3, -1)
    grey, color = features.get("hog"), features.get("hog", color=True)
    np.testing.assert_allclose(grey(photos), grey(swapped), atol=2e-2)
    assert np.abs(color(photos) - color(swapped)).max() > 0.05


def test_same_values_in_tf_data_and_in_a_functional_model(photos):
    feature = features.get("hog")
    eager = feature(photos).numpy()
    mapped = tf.data.Dataset.from_tensor_slices(photos).batch(8).map(feature)
    np.testing.assert_allclose(np.concatenate(list(mapped)), eager, atol=1e-5)
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, feature(inputs))
    np.testing.assert_allclose(model(photos), eager, atol=1e-5)


def test_images_of_unknown_static_shape(photos):
    feature = features.get("hog")
    batches = tf.data.Dataset.range(1).map(
        lambda _: feature(tf.numpy_function(lambda: photos, [], tf.float32))
    )
    np.testing.assert_allclose(next(iter(batches)), feature(photos), atol=1e-5)


def test_functional_model_survives_save_and_load(photos, tmp_path):
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, features.get("hog", cell_size=4)(inputs))
    model.save(tmp_path / "hog.keras")
    loaded = keras.models.load_model(tmp_path / "hog.keras")
    np.testing.assert_array_equal(loaded(photos[:2]), model(photos[:2]))


def test_config_round_trip():
    feature = features.get("hog", image_shape=(96, 80, 3), cell_size=4, color=True)
    again = features.from_description(features.describe(feature))
    assert again.get_config() == feature.get_config()
    assert again.spec == feature.spec


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_shape": (2, 64, 3)}, "at least 4×4"),
        ({"image_shape": (64, 64)}, "image_shape must be"),
        ({"image_shape": (64, 64, 1)}, "image_shape must be"),
        ({"cell_size": 0}, "cell_size must be at least 2"),
    ],
)
def test_invalid_configuration(config, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        features.get("hog", **config)
    assert "\n" not in str(error.value)


def test_invalid_images(photos):
    feature = features.get("hog")
    with pytest.raises(tfinvert.InputError, match="divide 8-bit values by 255"):
        feature(photos * 255)
    with pytest.raises(tfinvert.InputError, match="built for images of shape"):
        feature(photos[:, :32])
    with pytest.raises(tfinvert.InputError, match="built for images of shape"):
        feature(keras.Input((32, 64, 3)))


def test_unknown_feature():
    with pytest.raises(tfinvert.InputError, match="unknown feature 'hgo'; choose one of .*hog"):
        features.get("hgo")
