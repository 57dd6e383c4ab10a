"""Python functions as features, with their declared shape enforced."""

import numpy as np
import pytest
import skimage.color
import skimage.feature
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.features import HostFeature


def rows(image):
    return image.mean(axis=1)


def test_runs_any_function_eagerly_and_in_tf_data(photos):
    feature = HostFeature(rows, (64, 3), name="rows")
    expected = photos.mean(axis=2)
    np.testing.assert_allclose(feature(photos), expected, atol=1e-6)
    mapped = tf.data.Dataset.from_tensor_slices(photos).batch(4, drop_remainder=True).map(feature)
    assert mapped.element_spec.shape == (4, 64, 3)
    np.testing.assert_allclose(np.concatenate(list(mapped)), expected[: len(photos) // 4 * 4])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: image, r"must return the declared shape \(64, 3\). Received: \(64, 64, 3\)"),
        (lambda image: np.full((64, 3), np.nan), "finite real numbers"),
        (lambda image: np.zeros((64, 3), complex), "finite real numbers"),
    ],
)
def test_the_declared_spec_is_enforced(photos, function, message):
    feature = HostFeature(function, (64, 3), name="wrong")
    with pytest.raises(tfinvert.InputError, match=message):
        feature(photos[:1])
    batches = tf.data.Dataset.from_tensors(photos[:1]).map(feature)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(iter(batches))


def test_skimage_hog_has_the_values_of_skimage(photos):
    feature = features.get("skimage_hog")
    ours = feature(photos[:1]).numpy()[0]
    assert ours.shape == feature.spec.shape == (8, 8, 36)
    theirs = skimage.feature.hog(
        skimage.color.rgb2gray(photos[0]), cells_per_block=(2, 2), feature_vector=False
    )
    # The cell (3, 4) is the lower right one of the block above left of it, and so on.
    expected = [theirs[2, 3, 1, 1], theirs[2, 4, 1, 0], theirs[3, 3, 0, 1], theirs[3, 4, 0, 0]]
    np.testing.assert_allclose(ours[3, 4], np.concatenate(expected), atol=1e-6)


def test_skimage_hog_rejects_too_small_images():
    with pytest.raises(tfinvert.InputError, match="at least 2×2 cells"):
        features.get("skimage_hog", image_shape=(15, 64, 3))


def test_names_are_unique():
    features.register("rows", rows)
    features.register("rows", rows)
    with pytest.raises(tfinvert.InputError, match="'rows' belongs to .*; choose another name"):
        features.register("rows", lambda: None)
