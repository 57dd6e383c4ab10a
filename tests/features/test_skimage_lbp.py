"""scikit-image's LBP in cells: values against a plain loop, and the input pipeline."""

import math

import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features


def label(pixels, y, x):
    """The label of a pixel of `[H, W]` from the definition; pixels beyond the border are black."""

    def pixel(row, column):
        inside = 0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]
        return float(pixels[row, column]) if inside else 0.0

    d = math.sqrt(0.5)  # distance of a diagonal neighbour along each axis
    bits = []
    for down, right in [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]:
        value = pixel(y + down, x + right)
        if down and right:
            value = (
                (1 - d) * (1 - d) * pixel(y, x)
                + (1 - d) * d * (pixel(y, x + right) + pixel(y + down, x))
                + d * d * value
            )
        bits.append(value >= pixels[y, x])
    starts = [k for k in range(8) if bits[k] and not bits[k - 1]]
    if not starts:
        return 57 if bits[0] else 0
    return 1 + 8 * (sum(bits) - 1) + -starts[0] % 8 if len(starts) == 1 else 58


def test_equals_a_loop_over_the_pixels():
    pixels = np.random.default_rng(0).integers(1, 256, (21, 35))
    # Partly smooth, because patterns with a single run of ones are rare in noise.
    pixels[:12] = 1 + np.add.outer(7 * np.arange(12), 3 * np.arange(35)) + pixels[:12] // 16
    feature = features.get("skimage_lbp", image_shape=(21, 35, 3), cell_size=8)
    image = np.repeat(pixels[..., np.newaxis] / np.float32(255), 3, -1)
    ours = feature(image[np.newaxis].astype(np.float32))[0]
    for row in range(2):
        for column in range(4):
            cell = [label(pixels, 8 * row + y, 8 * column + x) for y in range(8) for x in range(8)]
            expected = np.sqrt(np.bincount(cell, minlength=59) / 64)
            np.testing.assert_allclose(ours[row, column], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (67, 101), (16, 31)])
@pytest.mark.parametrize("cell", [8, 16])
def test_output_has_the_shape_of_the_spec(shape, cell):
    feature = features.get("skimage_lbp", image_shape=(*shape, 3), cell_size=cell)
    images = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    assert feature.spec.shape == (shape[0] // cell, shape[1] // cell, 59)
    assert feature(images).shape == (2, *feature.spec.shape)
    np.testing.assert_allclose(tf.norm(feature(images), axis=-1), 1.0, atol=1e-6)


def test_constant_images_are_all_in_one_bin_within_the_border():
    feature = features.get("skimage_lbp", image_shape=(48, 48, 3))
    colors = np.random.default_rng(0).random((20, 1, 1, 3), np.float32)
    inner = feature(np.tile(colors, (1, 48, 48, 1)))[:, 1, 1]
    np.testing.assert_allclose(inner, np.tile(np.eye(59)[57], (20, 1)), atol=1e-6)


def test_images_slightly_out_of_range_are_clipped(photos):
    feature = features.get("skimage_lbp")
    grey = 1.4 * photos[:2, ..., :1].repeat(3, -1) - 0.2
    np.testing.assert_array_equal(feature(grey), feature(grey.clip(0, 1)))


def test_works_in_tf_data(photos):
    feature = features.get("skimage_lbp")
    mapped = tf.data.Dataset.from_tensor_slices(photos).batch(8).map(feature)
    assert mapped.element_spec.shape[1:] == feature.spec.shape
    np.testing.assert_allclose(np.concatenate(list(mapped)), feature(photos), atol=1e-6)


def test_config_round_trip():
    feature = features.get("skimage_lbp", image_shape=(96, 80, 3), cell_size=8)
    again = features.from_description(features.describe(feature))
    assert again.get_config() == feature.get_config()
    assert again.spec == feature.spec
    assert not feature.in_graph and not feature.differentiable


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_shape": (15, 64, 3)}, "at least 16×16 pixels. Received: 15×64"),
        ({"image_shape": (64, 7, 3), "cell_size": 8}, "at least 8×8 pixels. Received: 64×7"),
        ({"image_shape": (64,)}, "image_shape must be"),
        ({"cell_size": 0}, "cell_size must be at least 1. Received: 0"),
    ],
)
def test_invalid_configuration(config, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        features.get("skimage_lbp", **config)
    assert "\n" not in str(error.value)
