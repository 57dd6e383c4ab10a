"""How near a reconstruction is: normalised reconstruction error, PSNR and SSIM."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.common.images import evenly_spaced_indices
from tfinvert.config.choices import MAX_IMAGES
from tfinvert.errors import InputError

SSIM_WINDOW = 11  # pixels along the structural similarity's


def mean_pairwise_distance(images: np.ndarray, max_images: int = MAX_IMAGES) -> float:
    """N: the mean Euclidean distance over all pairs of distinct images.

    Exact, over all pairs, through blocks of the Gram matrix, so that no array of
    images × images × pixels is made. Of more than `max_images` images an evenly spaced
    `max_images` are taken.

    Args:
      images: `[n, ...]`, at least two.
      max_images: the most images that are paired.

    Raises:
      ValueError: there are fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"a mean distance takes at least two images. Received: {len(images)}")
    if len(images) > max_images:
        images = images[evenly_spaced_indices(len(images), max_images)]
    rows = np.asarray(images, np.float32).reshape(len(images), -1)
    rows = rows - rows.mean(0)  # smaller numbers: less is lost in |a|² + |b|² - 2ab
    squares = np.einsum("np,np->n", rows, rows, dtype=np.float64)
    total = 0.0
    for begin in range(0, len(rows), 512):
        block = slice(begin, begin + 512)
        squared = squares[block, np.newaxis] + squares - 2.0 * (rows[block] @ rows.T)
        own = np.arange(*block.indices(len(rows)))
        squared[np.arange(len(own)), own] = 0.0
        total += np.sqrt(np.maximum(squared, 0.0)).sum()
    return float(total / (len(rows) * (len(rows) - 1)))


def normalized_error(
    images: np.ndarray, reconstructions: np.ndarray, scale: float | None = None
) -> float:
    """The paper's error: mean over images of ‖x - x̂‖₂ / N (section 4).

    Args:
      images: `[n, H, W, 3]` in [0, 1].
      reconstructions: of the same shape.
      scale: N; measured on `images` unless given.

    Raises:
      InputError: the images are all the same, so that there is no N to divide by.
    """
    scale = mean_pairwise_distance(images) if scale is None else scale
    if not scale > 0:
        raise InputError(f"the {len(images)} images are all the same: no error relative to them")
    return float(per_image_distance(images, reconstructions).mean() / scale)


def per_image_distance(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """‖x - x̂‖₂ of each image: two of `[n, ...]` become `[n]`."""
    difference = np.subtract(reconstructions, images, dtype=np.float32)
    return np.sqrt(np.square(difference, out=difference).sum(tuple(range(1, difference.ndim))))


def psnr(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB, peak 1."""
    return _mean_of(tf.image.psnr, images, reconstructions)


def ssim(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean structural similarity, 11×11 Gaussian windows; sides of at least `SSIM_WINDOW`."""
    return _mean_of(tf.image.ssim, images, reconstructions)


def compute_metrics(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, Any]:
    """Every metric of `[n, H, W, 3]` images that there is at their size, with N and n, for JSON."""
    scale = mean_pairwise_distance(images)
    return {
        "normalized_error": normalized_error(images, reconstructions, scale),
        "psnr_db": psnr(images, reconstructions),
        **(
            {"ssim": ssim(images, reconstructions)} if min(images.shape[1:3]) >= SSIM_WINDOW else {}
        ),
        "mean_pairwise_distance": scale,
        "images": len(images),
    }


def _mean_of(metric: Callable[..., tf.Tensor], images: np.ndarray, others: np.ndarray) -> float:
    values = [
        metric(images[i : i + 256], others[i : i + 256], max_val=1.0).numpy()
        for i in range(0, len(images), 256)
    ]
    return float(np.concatenate(values).mean())
