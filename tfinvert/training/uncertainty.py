"""Uncertainty head: Gaussian negative log-likelihood (NLL) of the residual, and calibration."""

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, full_precision
from tfinvert.common.images import resize_images
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import COLOR_AXES, MAX_LOG_VARIANCE, MIN_LOG_VARIANCE

# Weight of the NLL when it is added to an image loss: small, so that the norm of the gradient, and
# hence its clipping, is determined by the image loss.
NLL_WEIGHT = 0.01
COVERAGE = 0.6827  # of the interval of ± one standard deviation of a Gaussian
_PIXEL_STRIDE = 7  # every seventh pixel counts, as neighbours are correlated
_BATCH = 64


def gaussian_nll(images: Tensor, reconstructions: Tensor, log_variance: Tensor) -> Tensor:
    """Computes the Gaussian negative log-likelihood of each image's residual.

    The mean over pixels and the colour axes `uncertainty.COLOR_AXES`. The constant ½ log 2π is
    omitted and ½ of the smallest log-variance subtracted, so that it is never negative. No gradient
    flows to the reconstructions.

    Args:
      images: `[B, H, W, 3]`.
      reconstructions: `[B, H, W, 3]`.
      log_variance: along the colour axes, `[B, H, W, 3]`.

    Returns:
      `[B]`.
    """
    residual = ops.stop_gradient(reconstructions) - images
    with full_precision():
        squares = ops.square(ops.matmul(residual, COLOR_AXES.T))
    clipped = ops.clip(log_variance, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
    values = 0.5 * (clipped - MIN_LOG_VARIANCE + squares * ops.exp(-clipped))
    return ops.mean(values, axis=(1, 2, 3))


def fit_std_scale(inverter: Inverter, images: np.ndarray) -> np.ndarray:
    """Fits a factor per colour axis that calibrates predicted standard deviations.

    With it, 68.27 % of the residuals are within one standard deviation.

    Args:
      inverter: an inverter with an uncertainty head, whose own factors are ignored.
      images: held-out images, `[n, *feature.image_shape]` in [0, 1]; on training images the
        residuals are smaller.

    Returns:
      Positive factors, float32 `[3]`.
    """
    ratios = []
    for begin in range(0, len(images), _BATCH):
        batch = images[begin : begin + _BATCH]
        features, targets = inverter.encode(batch), resize_images(batch, inverter.output_size)
        residual = np.abs((inverter.invert(features) - targets) @ COLOR_AXES.T)
        std = inverter.uncertainty(features, along="axes") / inverter.uncertainty_head.calibration
        ratios.append((residual / std).reshape(-1, 3)[::_PIXEL_STRIDE])
    factors = np.quantile(np.concatenate(ratios), COVERAGE, axis=0)
    return np.maximum(factors, 1e-6).astype(np.float32)
