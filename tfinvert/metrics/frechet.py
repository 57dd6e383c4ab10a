"""Fréchet distance: how far apart two sets are as a whole, whichever belongs to which."""

from typing import NamedTuple

import numpy as np

from tfinvert import features

_LAYER = "squeezenet/fire9"


class ImageSetDistance(NamedTuple):
    """A Fréchet distance of images, which means little without their number.

    Attributes:
      distance: in the features' units squared; the more images, the less of it is chance.
      images: of the smaller set.
    """

    distance: float
    images: int


def image_set_distance(images: np.ndarray, others: np.ndarray) -> ImageSetDistance:
    """Between two sets of images, by SqueezeNet's fire9 averaged over its grid: 512 dimensions.

    Not comparable with distances of other networks, nor with one over another number of images:
    few of them bias it upwards.

    Args:
      images: `[n, H, W, 3]` in [0, 1], at least two.
      others: `[m, H, W, 3]`, at least two; of the same size, or the sizes are what is measured.
    """
    distance = frechet_distance(_pooled(images), _pooled(others))
    return ImageSetDistance(distance, min(len(images), len(others)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the Gaussians with the means and covariances of two samples.

    ‖μa - μb‖² + tr(Σa + Σb - 2 (Σa Σb)^½) (Dowson & Landau 1982). The trace of the root is the sum
    of the singular values of A Bᵀ, where Σa = AᵀA and Σb = BᵀB, so that neither a covariance nor
    its root is made, and samples may be fewer than dimensions.

    Args:
      a: `[n, dimensions]`, at least two.
      b: `[m, dimensions]`, at least two.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    roots = [
        np.linalg.qr((each - each.mean(0)) / np.sqrt(len(each) - 1), mode="r") for each in (a, b)
    ]
    common = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    own = sum(np.square(root).sum() for root in roots)
    return float(max(0.0, np.square(a.mean(0) - b.mean(0)).sum() + own - 2.0 * common))


def _pooled(images: np.ndarray) -> np.ndarray:
    feature = features.get(_LAYER, image_shape=images.shape[1:])
    batches = (images[i : i + 32] for i in range(0, len(images), 32))
    return np.concatenate([feature(batch).numpy().mean((1, 2)) for batch in batches])
