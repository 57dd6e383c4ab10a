"""Scores of reconstructions, contrast of images, and means with standard errors."""

import numpy as np
import skimage.color

from tfinvert import metrics
from tfinvert.common.images import resize_images

COARSE_SIZE = 4  # pixels, the side of a coarse image


def image_scores(images: np.ndarray, rebuilt: np.ndarray, scale: float) -> dict[str, float]:
    """Normalised error, PSNR in dB and SSIM of reconstructions, as columns of a table.

    Args:
      images: `[n, H, W, 3]` in [0, 1].
      rebuilt: `[n, H, W, 3]` in [0, 1].
      scale: N, the mean distance between two images.
    """
    return {
        "normalized_error": metrics.normalized_error(images, rebuilt, scale),
        "psnr": metrics.psnr(images, rebuilt),
        "ssim": metrics.ssim(images, rebuilt),
    }


def coarse_r2(images: np.ndarray, rebuilt: np.ndarray, mean: np.ndarray) -> float:
    """R² of images reduced to 4×4 pixels: 1 - Σ|x̂ - x|² / Σ|x̄ - x|².

    Args:
      images: `[n, H, W, 3]` in [0, 1], x before they are reduced.
      rebuilt: `[n, H, W, 3]` in [0, 1], x̂ before they are reduced.
      mean: `[4, 4, 3]`, x̄.
    """
    coarse = downscale_coarsely(images)
    residual = np.square(downscale_coarsely(rebuilt) - coarse).sum(dtype=np.float64)
    return float(1 - residual / np.square(mean - coarse).sum(dtype=np.float64))


def downscale_coarsely(images: np.ndarray) -> np.ndarray:
    """Rough colours in rough positions: `[n, H, W, 3]` become `[n, 4, 4, 3]`."""
    return resize_images(images, (COARSE_SIZE, COARSE_SIZE))


def image_contrast(images: np.ndarray) -> np.ndarray:
    """Standard deviation over the pixels, mean over channels: `[n, H, W, 3]` become `[n]`."""
    return images.std((1, 2)).mean(-1)


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


def brightness_error(images: np.ndarray, rebuilt: np.ndarray) -> float:
    """Root mean squared error of luma (Y of BT.601): two of `[n, H, W, 3]` in [0, 1]."""
    return _rms_difference(images, rebuilt, slice(1))


def color_error(images: np.ndarray, rebuilt: np.ndarray) -> float:
    """Root mean squared error of chroma (Cb, Cr of BT.601): two of `[n, H, W, 3]` in [0, 1]."""
    return _rms_difference(images, rebuilt, slice(1, 3))


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of `[n]` independent values; 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of `[n]` independent values."""
    return float(values.mean()), standard_error(values)


def mean_columns(column: str, values: np.ndarray) -> dict[str, float]:
    """Mean and standard error of `[n]` values as the columns `column` and `column`_se."""
    return dict(zip((column, f"{column}_se"), mean_and_error(values), strict=True))


def _rms_difference(images: np.ndarray, others: np.ndarray, channels: slice) -> float:
    pair = (np.float32(skimage.color.rgb2ycbcr(each)[..., channels]) for each in (images, others))
    difference = np.subtract(*(each / np.float32(255) for each in pair))
    return float(np.sqrt(np.square(difference).mean(dtype=np.float64)))
