"""How reconstructions are scored, told apart by brightness and colour."""

import numpy as np
import skimage.color

from tfinvert import metrics
from tfinvert.common.images import resize_images

COARSE = "explained when coarse"
CELLS = 4  # a side of what is rough


def image_scores(images: np.ndarray, rebuilt: np.ndarray, scale: float) -> dict[str, float]:
    """Normalised error, PSNR and SSIM of two of `[n, H, W, 3]` in [0, 1]; `scale` is N."""
    return {
        "normalised error": metrics.normalized_error(images, rebuilt, scale),
        "PSNR (dB)": metrics.psnr(images, rebuilt),
        "SSIM": metrics.ssim(images, rebuilt),
    }


def coarse_r2(images: np.ndarray, rebuilt: np.ndarray, mean: np.ndarray) -> float:
    """R² of rough colours in rough places, both reduced to 4×4 pixels: 1 - Σ|x̂ - x|² / Σ|x̄ - x|².

    The images are two of `[n, H, W, 3]` in [0, 1], the mean is x̄, reduced: `[4, 4, 3]`.
    """
    wanted = downscale_coarsely(images)
    left = np.square(downscale_coarsely(rebuilt) - wanted).sum(dtype=np.float64)
    return float(1 - left / np.square(mean - wanted).sum(dtype=np.float64))


def downscale_coarsely(images: np.ndarray) -> np.ndarray:
    """Rough colours in rough places: `[n, H, W, 3]` become `[n, 4, 4, 3]`."""
    return resize_images(images, (CELLS, CELLS))


def image_contrast(images: np.ndarray) -> np.ndarray:
    """Deviation over an image's pixels, mean over channels: `[n, H, W, 3]` become `[n]`."""
    return images.std((1, 2)).mean(-1)


def brightness_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Root mean squared error of luma: two of `[n, H, W, 3]` in [0, 1]."""
    return _rms(images, reconstructions, slice(1))


def color_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Root mean squared error of chroma, blue and red difference: two of `[n, H, W, 3]`."""
    return _rms(images, reconstructions, slice(1, 3))


def _rms(images: np.ndarray, others: np.ndarray, channels: slice) -> float:
    pair = (np.float32(skimage.color.rgb2ycbcr(each)[..., channels]) for each in (images, others))
    difference = np.subtract(*(each / np.float32(255) for each in pair))
    return float(np.sqrt(np.square(difference).mean(dtype=np.float64)))
