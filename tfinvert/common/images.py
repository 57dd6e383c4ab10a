"""The range and the size of image batches, and evenly spaced subsampling."""

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError

# Bicubic and Lanczos resampling of photographs overshoots [0, 1] by up to about 0.2.
OVERSHOOT = 0.25
_BATCH_SIZE = 256


def check_images(images: np.ndarray, subject: str) -> None:
    """Checks that images are uint8, or floating point in [0, 1] up to `OVERSHOOT`.

    Args:
      images: an array of any shape.
      subject: the subject of the error message, for example "images of hog".

    Raises:
      InputError: they have another type or range, or are not finite.
    """
    if images.dtype == np.uint8:
        return
    rule = f"{subject} must be uint8, or floating point in [0, 1]"
    if images.dtype.kind != "f":
        raise InputError(f"{rule}. Received: {images.dtype}")
    if not images.size:
        return
    low, high = float(images.min()), float(images.max())
    if not np.isfinite(low + high):
        raise InputError(f"{rule}. Received: pixels that are NaN or infinite")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise InputError(
            f"{rule}; divide 8-bit values by 255, map other ranges to [0, 1], or clip. Received: "
            f"values from {low:.4g} to {high:.4g}"
        )


def to_float(images: np.ndarray) -> np.ndarray:
    """Converts images that `check_images` accepts to float32."""
    if images.dtype == np.uint8:
        return images / np.float32(255)
    return images.astype(np.float32, copy=False)


def resize_batch(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes bilinearly with antialiasing: `[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]`.

    Images that have the size already are returned unchanged.
    """
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    resized = ops.image.resize(images, size, antialias=True, data_format="channels_last")
    return ops.clip(resized, 0.0, 1.0)


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
