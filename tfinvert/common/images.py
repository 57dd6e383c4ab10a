"""Resizing of image batches, and evenly spaced subsampling."""

import numpy as np
import tensorflow as tf

_BATCH_SIZE = 256


def resize_batch(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes bilinearly with antialiasing: `[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]`.

    Images that have the size already are returned unchanged.
    """
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return tf.clip_by_value(tf.image.resize(images, size, antialias=True), 0.0, 1.0)


def resize_images(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes any number of images, as `resize_batch`, in batches that bound the memory."""
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    begins = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([resize_batch(images[i : i + _BATCH_SIZE], size).numpy() for i in begins])


def evenly_spaced_indices(count: int, maximum: int) -> np.ndarray:
    """Returns at most `maximum` evenly spaced indices below `count`, as an int array."""
    return np.linspace(0, count - 1, min(count, maximum)).astype(int)
