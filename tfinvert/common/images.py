"""Resizing of image batches, and evenly spaced subsampling."""

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor

_BATCH_SIZE = 256


def resize_batch(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes bilinearly with antialiasing: `[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]`.

    Images that have the size already are returned unchanged.
    """
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return ops.clip(ops.image.resize(images, size, antialias=True), 0.0, 1.0)


def resize_images(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes any number of images, as `resize_batch`, in batches that bound the memory."""
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    begins = range(0, len(images), _BATCH_SIZE)
    batches = (resize_batch(images[i : i + _BATCH_SIZE], size) for i in begins)
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])


def evenly_spaced_indices(count: int, maximum: int) -> np.ndarray:
    """Returns at most `maximum` evenly spaced indices below `count`, as an int array."""
    return np.linspace(0, count - 1, min(count, maximum)).astype(int)
