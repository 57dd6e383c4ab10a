"""The loss whose best answer is the median of what is possible, where the square's is the mean."""

import tensorflow as tf


def absolute_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The mean absolute difference over an image's pixels: two of `[B, H, W, 3]` become `[B]`."""
    return tf.reduce_mean(tf.abs(reconstructions - images), axis=(1, 2, 3))
