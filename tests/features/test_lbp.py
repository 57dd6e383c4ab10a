"""LBP: values against VLFeat's C library and a plain loop, execution modes and errors."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import vlfeat

import tfinvert
from tfinvert import features
from tfinvert.data.photos import load_photograph
from tfinvert.features.lbp import lbp

GOLDEN = np.load(pathlib.Path(__file__).with_name("lbp_golden.npz"))
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})
CONSTANT = np.eye(58, dtype=np.float32)[56]


def share_that_differs(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    return np.mean(np.abs(ours - theirs) > tolerance)


def grey_photograph(height, width):
    """Integer grey levels, float32 `[1, height, width, 1]`."""
    crop = load_photograph("coffee")[40 : 40 + height, 60 : 60 + width, :1]
    return crop[np.newaxis].astype(np.float32)


def by_definition(grey, cell):
    """LBP of a grey image `[H, W]`, computed pixel by pixel from the definition."""
    rows, columns = grey.shape[0] // cell, grey.shape[1] // cell
    histogram = np.zeros((rows, columns, 58))
    for y in range(1, grey.shape[0] - 1):
        for x in range(1, grey.shape[1] - 1):
            around = [
                grey[y, x + 1],  # east
                grey[y + 1, x + 1],
                grey[y + 1, x],  # south
                grey[y + 1, x - 1],
                grey[y, x - 1],  # west
                grey[y - 1, x - 1],
                grey[y - 1, x],  # north
                grey[y - 1, x + 1],
            ]
            brighter = [value > grey[y, x] for value in around]
            starts = [k for k in range(8) if brighter[k] and not brighter[k - 1]]
            if not starts:
                which = 56
            elif len(starts) == 1:
                which = 7 * starts[0] + sum(brighter) - 1
            else:
                which = 57
            for row in range(rows):
                for column in range(columns):
                    down = 1 - abs((y + 0.5) / cell - (row + 0.5))
                    right = 1 - abs((x + 0.5) / cell - (column + 0.5))
                    histogram[row, column, which] += max(0, down) * max(0, right)
    return np.sqrt(histogram / histogram.sum(-1, keepdims=True))


# Compiling takes seconds, so most compiled cases are in the slow tier.
EAGER = [pytest.param(case, False, id=f"eager-{case}") for case in CASES]
COMPILED = [
    pytest.param(case, True, id=f"xla-{case}", marks=[pytest.mark.slow] * (case != "one_cell"))
    for case in CASES
]


@pytest.mark.parametrize(("case", "compiled"), EAGER + COMPILED)
def test_equals_golden_vectors_of_vlfeat(case, compiled):
    image = GOLDEN[f"{case}/image"][np.newaxis] / np.float32(255)
    function = tf.function(lbp, jit_compile=True) if compiled else lbp
    ours = function(tf.constant(image), int(GOLDEN[f"{case}/cell_size"])).numpy()[0]
    assert share_that_differs(ours, GOLDEN[f"{case}/lbp"]) <= 0.001


@pytest.mark.parametrize(
    ("height", "width", "cell"),
    [(64, 64, 16), (67, 101, 8), (250, 131, 16), (256, 256, 16), (256, 256, 8), (33, 20, 5)],
)
def test_equals_the_installed_vlfeat(height, width, cell):
    vl = vlfeat.library()
    if vl is None:
        pytest.skip("libvl.so.1 is not installed")
    image = grey_photograph(height, width) / np.float32(255)
    ours = lbp(tf.constant(image), cell).numpy()[0]
    assert share_that_differs(ours, vlfeat.lbp(vl, image[0], cell)) <= 0.001


@pytest.mark.parametrize("cell", [6, 8])
def test_equals_a_loop_over_the_pixels(cell):
    image = grey_photograph(19, 27)
    expected = by_definition(image[0, ..., 0], cell)
    np.testing.assert_allclose(lbp(tf.constant(image), cell)[0], expected, atol=1e-6)


def test_batch_equals_single_images(photos):
    feature = features.get("lbp", cell_size=8)
    single = np.concatenate([feature(photos[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(feature(photos[:5]), single, atol=1e-6)


def test_every_cell_has_norm_one(photos):
    norms = tf.norm(features.get("lbp")(photos), axis=-1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-6)


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "xla"]
)
def test_constant_images_are_all_in_one_bin(compiled):
    colors = np.random.default_rng(0).random((20, 1, 1, 3), np.float32)
    colors[:10] = colors[:10, ..., :1]
    colors[0], colors[1] = 0, 1
    feature = features.get("lbp", image_shape=(37, 51, 3), cell_size=8)
    function = tf.function(feature, jit_compile=True) if compiled else feature
    ours = function(tf.constant(np.tile(colors, (1, 37, 51, 1))))
    np.testing.assert_allclose(ours, np.broadcast_to(CONSTANT, ours.shape), atol=1e-6)


@pytest.mark.parametrize(("gain", "shift"), [(1, 40), (1, -300), (3, 0), (1 / 255, 0), (0.7, 0.2)])
def test_invariant_to_brightness_and_contrast(gain, shift):
    image = grey_photograph(67, 101)
    changed = (image * gain + shift).astype(np.float32)
    np.testing.assert_array_equal(lbp(tf.constant(changed)), lbp(tf.constant(image)))


def test_not_invariant_to_inversion():
    image = grey_photograph(67, 101)
    assert np.abs(lbp(tf.constant(-image)) - lbp(tf.constant(image))).max() > 0.1


@pytest.mark.parametrize("shape", [(64, 64), (67, 101), (130, 95), (16, 31)])
@pytest.mark.parametrize("cell", [8, 16])
def test_output_has_the_shape_of_the_spec(shape, cell):
    feature = features.get("lbp", image_shape=(*shape, 3), cell_size=cell)
    images = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    assert feature(images).shape == (2, *feature.spec.shape)
    assert feature.spec.shape == (shape[0] // cell, shape[1] // cell, 58)


def test_same_values_in_tf_data_and_in_a_functional_model(photos):
    feature = features.get("lbp")
    eager = feature(photos).numpy()
    mapped = tf.data.Dataset.from_tensor_slices(photos).batch(8).map(feature)
    np.testing.assert_allclose(np.concatenate(list(mapped)), eager, atol=1e-5)
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, feature(inputs))
    np.testing.assert_allclose(model(photos), eager, atol=1e-5)


def test_functional_model_survives_save_and_load(photos, tmp_path):
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, features.get("lbp", cell_size=8)(inputs))
    model.save(tmp_path / "lbp.keras")
    loaded = keras.models.load_model(tmp_path / "lbp.keras")
    np.testing.assert_array_equal(loaded(photos[:2]), model(photos[:2]))


def test_config_round_trip():
    feature = features.get("lbp", image_shape=(96, 80, 3), cell_size=8)
    again = features.from_description(features.describe(feature))
    assert again.get_config() == feature.get_config()
    assert again.spec == feature.spec


def test_declared_as_not_differentiable():
    feature = features.get("lbp")
    assert feature.in_graph and not feature.differentiable


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_shape": (15, 64, 3)}, "at least 16×16 pixels. Received: 15×64"),
        ({"image_shape": (64, 7, 3), "cell_size": 8}, "at least 8×8 pixels. Received: 64×7"),
        ({"image_shape": (64, 64)}, "image_shape must be"),
        ({"image_shape": (64, 64, 1)}, "image_shape must be"),
        ({"cell_size": 2}, "cell_size must be at least 3. Received: 2"),
        ({"cell_size": -8}, "cell_size must be at least 3. Received: -8"),
    ],
)
def test_invalid_configuration(config, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        features.get("lbp", **config)
    assert "\n" not in str(error.value)


def test_invalid_images(photos):
    feature = features.get("lbp")
    with pytest.raises(tfinvert.InputError, match="divide 8-bit values by 255"):
        feature(photos * 255)
    with pytest.raises(tfinvert.InputError, match="built for images of shape"):
        feature(photos[:, :32])
    for wrong in (np.nan, np.inf):
        broken = photos[:2].copy()
        broken[1, 3, 4, 0] = wrong
        with pytest.raises(tfinvert.InputError, match="images of lbp .* NaN or infinite"):
            feature(broken)
