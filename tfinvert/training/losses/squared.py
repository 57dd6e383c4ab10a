"""The paper's loss."""

import tensorflow as tf


def squared_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The paper's loss, per image, over its pixels' mean: two of `[B, H, W, 3]` become `[B]`.

    The mean and not the sum, so that the figure means the same at every image size.
    """
    return tf.reduce_mean(tf.square(reconstructions - images), axis=(1, 2, 3))
