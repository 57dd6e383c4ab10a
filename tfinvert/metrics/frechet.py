"""Fréchet distance between two sets of vectors or images."""

from typing import NamedTuple

import numpy as np
from keras import ops

from tfinvert import features

_LAYER = "squeezenet/fire9"
_BATCH_SIZE = 32


class ImageSetDistance(NamedTuple):
    """A Fréchet distance between image sets, with their size, which biases it.

    Attributes:
      distance: in squared units of the features; fewer images bias it upwards.
      images: number of images of the smaller set.
    """

    distance: float
    images: int


def image_set_distance(images: np.ndarray, others: np.ndarray) -> ImageSetDistance:
    """Fréchet distance between two sets of images, on SqueezeNet's spatially averaged fire9.

    The features have 512 dimensions. The distance is not comparable with one on features of another
    network, nor with one between sets of another size.

    Args:
      images: `[n, H, W, 3]` in [0, 1], at least two.
      others: `[m, H, W, 3]`, at least two; the same H and W, unless the effect of the image size is
        to be measured.
    """
    distance = frechet_distance(_pooled_features(images), _pooled_features(others))
    return ImageSetDistance(distance, min(len(images), len(others)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two samples.

    ‖μa - μb‖² + tr(Σa + Σb - 2 (Σa Σb)^½) (Dowson & Landau 1982). The trace of the square root is
    the sum of the singular values of A Bᵀ with Σa = AᵀA and Σb = BᵀB. Neither a covariance nor its
    root is formed, so samples may be fewer than dimensions.

    Args:
      a: `[n, dimensions]`, at least two.
      b: `[m, dimensions]`, at least two.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    roots = [
        np.linalg.qr((each - each.mean(0)) / np.sqrt(len(each) - 1), mode="r") for each in (a, b)
    ]
    cross_trace = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(np.square(root).sum() for root in roots)
    return float(max(0.0, np.square(a.mean(0) - b.mean(0)).sum() + traces - 2.0 * cross_trace))


def _pooled_features(images: np.ndarray) -> np.ndarray:
    feature = features.get(_LAYER, image_shape=images.shape[1:])
    begins = range(0, len(images), _BATCH_SIZE)
    batches = (images[i : i + _BATCH_SIZE] for i in begins)
    return np.concatenate([ops.convert_to_numpy(feature(x)).mean((1, 2)) for x in batches])
