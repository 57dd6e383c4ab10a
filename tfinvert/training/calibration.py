"""What a spread's deviations are multiplied by, so that they say what they mean."""

import numpy as np

from tfinvert.inverter import Inverter
from tfinvert.networks.spread import AXES
from tfinvert.resize import resize_images

WITHIN = 0.6827  # of what is Gaussian, within one deviation
_EVERY = 7  # pixel that counts: neighbours know of each other
_AT_ONCE = 64  # images


def calibration(inverter: Inverter, images: np.ndarray) -> np.ndarray:
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
        residual = np.abs((inverter.invert(features) - targets) @ AXES.T)
        deviations = inverter.uncertainty(features, along="axes") / inverter.spread.calibration
        ratios.append((residual / deviations).reshape(-1, 3)[::_EVERY])
    factors = np.quantile(np.concatenate(ratios), WITHIN, axis=0)
    return np.maximum(factors, 1e-6).astype(np.float32)
