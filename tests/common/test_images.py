"""Resizing and evenly spaced subsampling."""

import numpy as np
import pytest
import tensorflow as tf

from tfinvert.common.images import evenly_spaced_indices, resize_batch, resize_images


def test_resizing_is_antialiased_and_keeps_images_of_the_same_size():
    images = np.random.default_rng(0).random((300, 8, 6, 3), np.float32)  # more than one batch
    assert resize_images(images, (8, 6)) is images
    resized = resize_images(images, (4, 3))
    assert resized.shape == (300, 4, 3, 3) and resized.dtype == np.float32
    expected = np.clip(tf.image.resize(images, (4, 3), antialias=True), 0, 1)
    np.testing.assert_allclose(resized, expected, atol=1e-6)
    np.testing.assert_allclose(resize_batch(tf.constant(images), (4, 3)), expected, atol=1e-6)


@pytest.mark.parametrize(("count", "maximum"), [(10, 4), (4, 10), (1, 1), (5, 5)])
def test_indices_are_evenly_spaced(count, maximum):
    indices = evenly_spaced_indices(count, maximum)
    assert len(indices) == min(count, maximum)
    assert indices[0] == 0 and (len(indices) == 1 or indices[-1] == count - 1)
    steps = np.diff(indices)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
