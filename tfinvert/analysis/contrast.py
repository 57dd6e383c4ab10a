"""Contrast of images, scaled about their mean colours."""

import numpy as np


def scale_contrast(images: np.ndarray, factor: float) -> np.ndarray:
    """Scales the differences of pixels from the mean of their image's channel.

    Args:
      images: `[n, H, W, 3]` in [0, 1].
      factor: 0.5 halves every difference from the mean; above 1, values are clipped to [0, 1].

    Returns:
      `[n, H, W, 3]`, float32.
    """
    mean = images.mean((1, 2), keepdims=True)
    return np.clip(mean + factor * (images - mean), 0.0, 1.0).astype(np.float32)
