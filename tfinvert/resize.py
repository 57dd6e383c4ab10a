"""Images at another size: the library's one way to resize a batch."""

from typing import Any

import tensorflow as tf


def resize_images(images: Any, size: tuple[int, int]) -> tf.Tensor:
    """Bilinear with antialiasing: `[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]` in [0, 1]."""
    images = tf.convert_to_tensor(images)
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return tf.clip_by_value(tf.image.resize(images, size, antialias=True), 0.0, 1.0)
