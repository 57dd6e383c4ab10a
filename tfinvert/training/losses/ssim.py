"""Structural similarity as a loss."""

from collections.abc import Callable

import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.metrics import WINDOW


def dissimilarity(size: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """1 less the structural similarity that `metrics.ssim` measures, for images of that size.

    Raises:
      InputError: they are smaller than its window.
    """
    if min(size) < WINDOW:
        raise InputError(
            f"the loss ssim takes images of at least {WINDOW}×{WINDOW} pixels. "
            f"Received: {size[0]}×{size[1]}"
        )

    def loss(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
        return 1.0 - tf.image.ssim(images, reconstructions, max_val=1.0)

    return loss
