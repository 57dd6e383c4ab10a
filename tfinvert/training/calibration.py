"""What a spread's deviations are multiplied by, so that they say what they mean."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfinvert.inverter import Inverter
from tfinvert.networks.spread import AXES
from tfinvert.resize import resize_images

WITHIN = 0.6827  # of what is Gaussian, within one deviation
_EVERY = 7  # pixel that counts: neighbours know of each other


def calibration(
    inverter: Inverter, examples: Iterable[tuple[np.ndarray, np.ndarray | tf.Tensor]]
) -> np.ndarray:
    """A factor for each axis by which 68 % of the residuals are within one deviation.

    Args:
      inverter: with a spread, whose own factors are left out.
      examples: batches of images `[B, *feature.image_shape]` in [0, 1], and their features.

    Returns:
      float32 `[3]`, positive.
    """
    ratios = []
    for images, features in examples:
        targets = resize_images(images, inverter.output_size)
        residual = np.abs((inverter.invert(features) - targets) @ AXES.T)
        deviations = inverter.uncertainty(features, along="axes") / inverter.spread.calibration
        ratios.append((residual / deviations).reshape(-1, 3)[::_EVERY])
    factors = np.quantile(np.concatenate(ratios), WITHIN, axis=0)
    return np.maximum(factors, 1e-6).astype(np.float32)
