"""Pixel losses: mean squared error, mean absolute error and structural similarity."""

from collections.abc import Callable

from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.metrics import SSIM_WINDOW, ssim_per_image

Size = tuple[int, int]
Loss = Callable[[Tensor, Tensor], Tensor]


def mse(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Computes the mean squared error of each image, the paper's loss.

    The paper sums over pixels; the mean is comparable between image sizes.

    Args:
      images: `[B, H, W, 3]`.
      reconstructions: `[B, H, W, 3]`.

    Returns:
      `[B]`.
    """
    return ops.mean(ops.square(reconstructions - images), axis=(1, 2, 3))


def mae(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Computes the mean absolute error of each image.

    Its optimum is the conditional median of each pixel, that of `mse` the conditional mean.

    Args:
      images: `[B, H, W, 3]`.
      reconstructions: `[B, H, W, 3]`.

    Returns:
      `[B]`.
    """
    return ops.mean(ops.abs(reconstructions - images), axis=(1, 2, 3))


def make_mse(size: Size, layers: str = "") -> Loss:
    """Returns `mse`; images may have any size."""
    del size, layers
    return mse


def make_mae(size: Size, layers: str = "") -> Loss:
    """Returns `mae`; images may have any size."""
    del size, layers
    return mae


def ssim_loss(size: Size, layers: str = "") -> Loss:
    """Creates the loss 1 − SSIM, with SSIM as in `metrics.ssim`.

    Args:
      size: (height, width) of the images.
      layers: unused.

    Raises:
      InputError: the images are smaller than the window of SSIM.
    """
    del layers
    if min(size) < SSIM_WINDOW:
        raise InputError(
            f"--loss=ssim requires images of at least {SSIM_WINDOW}×{SSIM_WINDOW} pixels. "
            f"Received: {size[0]}×{size[1]}"
        )

    def loss(images: Tensor, reconstructions: Tensor) -> Tensor:
        return 1.0 - ssim_per_image(images, reconstructions)

    return loss
