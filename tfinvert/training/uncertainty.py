"""How the spread is learnt: by the likelihood of what is left between image and reconstruction."""

import numpy as np
import tensorflow as tf

from tfinvert.common.images import resize_images
from tfinvert.inverter import Inverter
from tfinvert.networks import uncertainty
from tfinvert.networks.uncertainty import COLOR_AXES

NLL_WEIGHT = 0.01  # of it beside an image's loss, so that a bound on the gradient is the image's


def gaussian_nll(
    images: tf.Tensor, reconstructions: tf.Tensor, log_variance: tf.Tensor
) -> tf.Tensor:
    """The negative logarithm of a Gaussian's density at the residual, of each image: `[B]`.

    Along `uncertainty.COLOR_AXES`, mean over them and the pixels, without the constant ½ log 2π and counted
    from the least variance there is, so that it is never negative. Nothing of it reaches the
    reconstructions.

    Args:
      images: `[B, H, W, 3]`.
      reconstructions: likewise.
      log_variance: along the axes, likewise.
    """
    residual = tf.stop_gradient(reconstructions) - images
    squares = tf.square(tf.linalg.matmul(residual, uncertainty.COLOR_AXES, transpose_b=True))
    logarithm = tf.clip_by_value(
        log_variance, uncertainty.MIN_LOG_VARIANCE, uncertainty.MAX_LOG_VARIANCE
    )
    values = 0.5 * (logarithm - uncertainty.MIN_LOG_VARIANCE + squares * tf.exp(-logarithm))
    return tf.reduce_mean(values, axis=(1, 2, 3))


COVERAGE = 0.6827  # of what is Gaussian, within one deviation
_EVERY = 7  # pixel that counts: neighbours know of each other
_AT_ONCE = 64  # images


def fit_std_scale(inverter: Inverter, images: np.ndarray) -> np.ndarray:
    """A factor for each axis by which 68 % of the residuals are within one deviation.

    Args:
      inverter: with a spread, whose own factors are left out.
      images: `[n, *feature.image_shape]` in [0, 1], none of which it was trained on: of those it
        errs less than of others.

    Returns:
      float32 `[3]`, positive.
    """
    ratios = []
    for begin in range(0, len(images), _AT_ONCE):
        some = images[begin : begin + _AT_ONCE]
        features, targets = inverter.encode(some), resize_images(some, inverter.output_size)
        residual = np.abs((inverter.invert(features) - targets) @ COLOR_AXES.T)
        deviations = inverter.uncertainty(features, along="axes")
        deviations = deviations / inverter.uncertainty_head.calibration
        ratios.append((residual / deviations).reshape(-1, 3)[::_EVERY])
    factors = np.quantile(np.concatenate(ratios), COVERAGE, axis=0)
    return np.maximum(factors, 1e-6).astype(np.float32)
