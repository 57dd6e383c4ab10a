"""How the spread is learnt: by the likelihood of what is left between image and reconstruction."""

import tensorflow as tf

from tfinvert.networks import spread

WEIGHT = 0.01  # of it beside an image's loss, so that a bound on the gradient is the image's


def unlikelihood(
    images: tf.Tensor, reconstructions: tf.Tensor, log_variance: tf.Tensor
) -> tf.Tensor:
    """The negative logarithm of a Gaussian's density at the residual, of each image: `[B]`.

    Along `spread.AXES`, mean over them and the pixels, without the constant ½ log 2π and counted
    from the least variance there is, so that it is never negative. Nothing of it reaches the
    reconstructions.

    Args:
      images: `[B, H, W, 3]`.
      reconstructions: likewise.
      log_variance: along the axes, likewise.
    """
    residual = tf.stop_gradient(reconstructions) - images
    squares = tf.square(tf.linalg.matmul(residual, spread.AXES, transpose_b=True))
    logarithm = tf.clip_by_value(log_variance, spread.LEAST, spread.MOST)
    values = 0.5 * (logarithm - spread.LEAST + squares * tf.exp(-logarithm))
    return tf.reduce_mean(values, axis=(1, 2, 3))
