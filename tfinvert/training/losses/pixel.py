"""The loss whose best answer is the median of what is possible, where the square's is the mean."""

from collections.abc import Callable

import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.metrics import SSIM_WINDOW


def mae(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The mean absolute difference over an image's pixels: two of `[B, H, W, 3]` become `[B]`."""
    return tf.reduce_mean(tf.abs(reconstructions - images), axis=(1, 2, 3))


def mse(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The paper's loss, per image, over its pixels' mean: two of `[B, H, W, 3]` become `[B]`.

    The mean and not the sum, so that the figure means the same at every image size.
    """
    return tf.reduce_mean(tf.square(reconstructions - images), axis=(1, 2, 3))


def make_mse(size: tuple[int, int], layers: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`mse`, for images of any size."""
    del size, layers
    return mse


def make_mae(size: tuple[int, int], layers: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`mae`, for images of any size."""
    del size, layers
    return mae


def ssim_loss(
    size: tuple[int, int], layers: str = ""
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """1 less the structural similarity that `metrics.ssim` measures, for images of that size.

    Raises:
      InputError: they are smaller than its window.
    """
    del layers
    if min(size) < SSIM_WINDOW:
        raise InputError(
            f"the loss ssim takes images of at least {SSIM_WINDOW}×{SSIM_WINDOW} pixels. "
            f"Received: {size[0]}×{size[1]}"
        )

    def loss(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
        return 1.0 - tf.image.ssim(images, reconstructions, max_val=1.0)

    return loss
