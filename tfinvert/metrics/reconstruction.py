"""Reconstruction metrics: the paper's normalised error, PSNR and SSIM."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, full_precision
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.config.choices import MAX_IMAGES
from tfinvert.errors import InputError

SSIM_WINDOW = 11  # side of the window of the structural similarity, in pixels
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2  # constants that stabilise the quotients
_BATCH_SIZE = 256
_BLOCK_SIZE = 512


def mean_pairwise_distance(images: np.ndarray, max_images: int = MAX_IMAGES) -> float:
    """N: the mean Euclidean distance over all pairs of distinct images.

    The mean is exact. It is computed from blocks of the Gram matrix, without an array of
    images × images × pixels.

    Args:
      images: `[n, ...]`, at least two.
      max_images: largest number of images that are paired; of more, `max_images` evenly spaced
        ones.

    Raises:
      ValueError: there are fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"a mean distance needs at least two images. Received: {len(images)}")
    if len(images) > max_images:
        images = images[evenly_spaced_indices(len(images), max_images)]
    rows = np.asarray(images, np.float32).reshape(len(images), -1)
    rows = rows - rows.mean(0)  # smaller numbers lose less precision in |a|² + |b|² - 2ab
    squares = np.einsum("np,np->n", rows, rows, dtype=np.float64)
    total = 0.0
    for begin in range(0, len(rows), _BLOCK_SIZE):
        block = slice(begin, begin + _BLOCK_SIZE)
        squared = squares[block, np.newaxis] + squares - 2.0 * (rows[block] @ rows.T)
        diagonal = np.arange(*block.indices(len(rows)))
        squared[np.arange(len(diagonal)), diagonal] = 0.0
        total += np.sqrt(np.maximum(squared, 0.0)).sum()
    return float(total / (len(rows) * (len(rows) - 1)))


def normalized_error(
    images: np.ndarray, reconstructions: np.ndarray, scale: float | None = None
) -> float:
    """The paper's normalised reconstruction error: mean of ‖x - x̂‖₂ / N over images (section 4).

    Args:
      images: `[n, H, W, 3]` in [0, 1].
      reconstructions: `[n, H, W, 3]`.
      scale: N; by default the mean pairwise distance of `images`.

    Raises:
      InputError: N is 0, because all images are identical.
    """
    scale = mean_pairwise_distance(images) if scale is None else scale
    if not scale > 0:
        raise InputError(
            f"the {len(images)} images are identical, so the normalised error is undefined; use "
            "images that differ"
        )
    return float(per_image_distance(images, reconstructions).mean() / scale)


def per_image_distance(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Euclidean distance ‖x - x̂‖₂ of each image: two arrays `[n, ...]` become `[n]`."""
    difference = np.subtract(reconstructions, images, dtype=np.float32)
    return np.sqrt(np.square(difference, out=difference).sum(tuple(range(1, difference.ndim))))


def psnr_per_image(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB: two `[B, H, W, C]` in [0, 1] become `[B]`."""
    images, reconstructions = _as_tensors(images, reconstructions)
    error = ops.mean(ops.square(images - reconstructions), axis=(1, 2, 3))
    return ops.log(error) * (-10.0 / math.log(10.0))


def ssim_per_image(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004): two `[B, H, W, C]` become `[B]`.

    Means over positions and channels, for values in [0, 1]. The window is a Gaussian of 1.5 pixels.

    Args:
      images: with sides of at least `SSIM_WINDOW` pixels.
      reconstructions: of the same shape.
    """
    images, reconstructions = _as_tensors(images, reconstructions)
    window = np.tile(_gaussian_window(), (1, 1, images.shape[-1], 1))

    def blur(x: Tensor) -> Tensor:
        return ops.depthwise_conv(x, window, padding="valid", data_format="channels_last")

    with full_precision():
        mean, other_mean = blur(images), blur(reconstructions)
        product = blur(images * reconstructions)
        squares = blur(ops.square(images) + ops.square(reconstructions))
    product_of_means = 2.0 * mean * other_mean
    squares_of_means = ops.square(mean) + ops.square(other_mean)
    luminance = (product_of_means + _SSIM_C1) / (squares_of_means + _SSIM_C1)
    covariance = (2.0 * product - product_of_means + _SSIM_C2) / (
        squares - squares_of_means + _SSIM_C2
    )
    return ops.mean(ops.mean(luminance * covariance, axis=(1, 2)), axis=-1)


@functools.cache
def _gaussian_window() -> np.ndarray:
    distance = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * np.square(distance / 1.5))
    window = np.outer(weights, weights)
    return (window / window.sum()).astype(np.float32)[:, :, np.newaxis, np.newaxis]


def psnr(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB, for images in [0, 1]."""
    return _mean_over_images(psnr_per_image, images, reconstructions)


def ssim(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean structural similarity with Gaussian windows; sides of at least `SSIM_WINDOW` pixels."""
    return _mean_over_images(ssim_per_image, images, reconstructions)


def compute_metrics(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, Any]:
    """Computes every metric that is defined at the images' size, as JSON values.

    Args:
      images: `[n, H, W, 3]` in [0, 1].
      reconstructions: `[n, H, W, 3]`.

    Returns:
      `normalized_error`, `psnr_db`, `ssim` for images of at least `SSIM_WINDOW` pixels,
      `mean_pairwise_distance` (N) and `images` (n).
    """
    scale = mean_pairwise_distance(images)
    scores: dict[str, Any] = {
        "normalized_error": normalized_error(images, reconstructions, scale),
        "psnr_db": psnr(images, reconstructions),
    }
    if min(images.shape[1:3]) >= SSIM_WINDOW:
        scores["ssim"] = ssim(images, reconstructions)
    return scores | {"mean_pairwise_distance": scale, "images": len(images)}


def _mean_over_images(
    metric: Callable[[Tensor, Tensor], Tensor], images: np.ndarray, others: np.ndarray
) -> float:
    values = []
    for i in range(0, len(images), _BATCH_SIZE):
        batch = slice(i, i + _BATCH_SIZE)
        values.append(ops.convert_to_numpy(metric(images[batch], others[batch])))
    return float(np.concatenate(values).mean())


def _as_tensors(*arrays: np.ndarray | Tensor) -> list[Tensor]:
    return [ops.convert_to_tensor(array, "float32") for array in arrays]
