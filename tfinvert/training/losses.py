"""What reconstructions are fitted by: `--loss` values → functions of images and reconstructions.

A loss takes two of `[B, H, W, 3]`, float32 in units around [0, 1], and gives `[B]`.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def squared_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The paper's loss, per image, over its pixels' mean: two of `[B, H, W, 3]` become `[B]`.

    The mean and not the sum, so that the figure means the same at every image size.
    """
    return tf.reduce_mean(tf.square(reconstructions - images), axis=(1, 2, 3))


LOSSES: dict[str, Loss] = {"squared": squared_error}
