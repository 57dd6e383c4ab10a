"""Cropping on the host, against the TensorFlow ops of the input pipeline."""

import numpy as np
import pytest
import tensorflow as tf

from tfinvert.data.cropping import crop_and_resize
from tfinvert.data.pipeline import center_crop_and_resize


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((96, 96), (32, 32)),
        ((90, 121), (30, 40)),
        ((10, 15), (20, 30)),
        ((17, 23), (17, 23)),
        ((21, 10), (10, 10)),
        ((3, 200), (64, 32)),
        ((1, 1), (8, 8)),
    ],
)
def test_the_host_crops_as_the_pipeline(shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = center_crop_and_resize(tf.constant(image), size).numpy()
    found = crop_and_resize(image, size)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
