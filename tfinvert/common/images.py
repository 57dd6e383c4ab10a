"""Images at another size: the library's one way to resize a batch."""

import numpy as np
import tensorflow as tf

_BATCH = 256


def resize_batch(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Bilinear with antialiasing: `[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]` in [0, 1].

    Images of that size already come back as they are.
    """
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return tf.clip_by_value(tf.image.resize(images, size, antialias=True), 0.0, 1.0)


def resize_images(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As `resize_batch`, for any number of images, a few at a time."""
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    parts = range(0, len(images), _BATCH)
    return np.concatenate([resize_batch(images[i : i + _BATCH], size).numpy() for i in parts])


def evenly_spaced_indices(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` evenly spaced ones out of `count`: int `[min(count, most)]`."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)
