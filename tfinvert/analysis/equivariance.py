"""Equivariance of reconstructions to image transformations, with standard errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from tfinvert import metrics
from tfinvert.analysis.result_cache import Arrays
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.inverter import Inverter

ROTATIONS = (5.0, 10.0, 20.0, 45.0)  # degrees
SHIFTS = (1 / 16, 1 / 8, 1 / 4)  # widths
SCALES = (1.1, 1.25, 1.5)
BLURS = (1 / 64, 1 / 32, 1 / 16)  # widths
AVERAGE = "average"
_BORDER = cv2.BORDER_REFLECT_101
_BATCH = 64
_MAX_PAIRED = 128  # images whose features are compared with each other


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates an image, `[H, W, 3]` in [0, 1], anticlockwise about its centre."""
    return _warp(image, cv2.getRotationMatrix2D(_center(image), degrees, 1.0))


def shift(image: np.ndarray, fraction: float) -> np.ndarray:
    """Shifts an image, `[H, W, 3]`, to the right by a fraction of its width."""
    return _warp(image, np.float64([[1, 0, fraction * image.shape[1]], [0, 1, 0]]))


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges an image, `[H, W, 3]`, about its centre."""
    return _warp(image, cv2.getRotationMatrix2D(_center(image), 0.0, factor))


def mirror(image: np.ndarray, _: float) -> np.ndarray:
    """Exchanges left and right of an image, `[H, W, 3]`."""
    return np.ascontiguousarray(image[:, ::-1])


def blur(image: np.ndarray, fraction: float) -> np.ndarray:
    """Blurs `[H, W, 3]` by a Gaussian whose standard deviation is a fraction of the width."""
    return cv2.GaussianBlur(image, (0, 0), fraction * image.shape[1], borderType=_BORDER)


class Transformation(NamedTuple):
    """A transformation of images of any size.

    Attributes:
      name: a participle, for example "turned".
      strength: amount, in `unit`.
      unit: text behind the number.
      function: `(image, strength)` gives an image.
      two_sided: whether a negative strength transforms in the opposite direction.
    """

    name: str
    strength: float
    unit: str
    function: Callable[[np.ndarray, float], np.ndarray]
    two_sided: bool = False

    @property
    def label(self) -> str:
        """Name and strength, for example "turned 20°"."""
        return f"{self.name} {self.strength:.3g}{self.unit}" if self.unit else self.name

    def __call__(self, images: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Transforms `[n, H, W, 3]` in [0, 1]; `directions` are `[n]`, 1 or -1."""
        strengths = self.strength * (directions if self.two_sided else np.ones(len(images)))
        return np.stack(
            [self.function(*each) for each in zip(images, strengths.tolist(), strict=True)]
        )


def make_transformations(
    rotations: Sequence[float] = ROTATIONS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
) -> list[Transformation]:
    """Transformations grouped by kind, each kind in the order given."""
    return [
        *[Transformation("turned", x, "°", rotate, two_sided=True) for x in rotations],
        *[Transformation("shifted", x, " widths", shift, two_sided=True) for x in shifts],
        *[Transformation("scaled", x, "×", scale) for x in scales],
        Transformation("mirrored", 1.0, "", mirror),
        *[Transformation("blurred", x, " widths", blur) for x in blurs],
    ]


def equivariance_projection(
    rebuilt: np.ndarray, transformed: np.ndarray, rebuilt_transformed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Projects the change of reconstructions on the change that equivariance requires.

    Args:
      rebuilt: `[n, H, W, 3]`, reconstructions of photographs.
      transformed: `[n, H, W, 3]`, the reconstructions transformed.
      rebuilt_transformed: `[n, H, W, 3]`, reconstructions of the transformed photographs.

    Returns:
      <rebuilt_transformed - rebuilt, transformed - rebuilt> and ‖transformed - rebuilt‖², `[n]`
      each. Their ratio is 1 if the reconstruction follows the transformation exactly, and 0 if it
      stays as it was.
    """
    wanted = (transformed - rebuilt).astype(np.float64)
    found = rebuilt_transformed - rebuilt
    return np.einsum("nhwc,nhwc->n", found, wanted), np.einsum("nhwc,nhwc->n", wanted, wanted)


def ratio_of_sums(
    numerators: np.ndarray, denominators: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of sums over images, and each image's influence on them.

    Args:
      numerators: `[k, n]`, of k measures and n images.
      denominators: `[k, n]`, with a sum other than 0.

    Returns:
      The ratios, `[k]`, and the influences, `[k, n]`: how far each image moves the ratio, to first
      order. `influence_standard_error` of them, or of their mean over measures, is the standard
      error of the ratio, or of the mean of the ratios.
    """
    total = denominators.sum(1, keepdims=True)
    ratio = numerators.sum(1, keepdims=True) / total
    return ratio[:, 0], (numerators - ratio * denominators) / total


def influence_standard_error(influences: np.ndarray) -> np.ndarray:
    """Standard errors from the influences of `ratio_of_sums`: `[..., n]` becomes `[...]`."""
    count = influences.shape[-1]
    return np.sqrt(count / (count - 1) * np.square(influences).sum(-1))


def average_strengths(
    scores: np.ndarray, influences: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Averages equivariance scores over the strengths of each transformation, and over all.

    In the row `AVERAGE` transformations have equal weights, whatever their numbers of strengths.

    Args:
      scores: `[k]`, ratios of `ratio_of_sums`.
      influences: `[k, n]`.
      names: of the k transformations.

    Returns:
      Rows with "transformation", "equivariance" and "equivariance_se".
    """
    each = pd.DataFrame(np.column_stack([scores, influences])).groupby(np.array(names), sort=False)
    means = each.mean()
    means.loc[AVERAGE] = means.mean()
    errors = influence_standard_error(means.iloc[:, 1:].to_numpy())
    return [
        {"transformation": name, "equivariance": float(mean), "equivariance_se": float(error)}
        for name, mean, error in zip(means.index, means[0], errors, strict=True)
    ]


def measure_equivariance(
    inverter: Inverter,
    images: np.ndarray,
    directions: np.ndarray,
    transformations: Sequence[Transformation],
) -> Arrays:
    """Measures the equivariance of reconstructions, and the change of the feature.

    Args:
      inverter: reconstructs the images.
      images: `[n, H, W, 3]` in [0, 1].
      directions: `[n]`, 1 or -1, of two-sided transformations.
      transformations: k transformations.

    Returns:
      "shared" and "wanted", `[k, n]`, numerators and denominators of `equivariance_projection`,
      and "moved", `[k]`, the mean change of the feature in units of the mean distance between the
      features of two photographs.
    """
    shared, wanted, moved = np.zeros((3, len(transformations), len(images)))
    for start in range(0, len(images), _BATCH):
        batch = slice(start, start + _BATCH)
        features = inverter.encode(images[batch])
        rebuilt = inverter.invert(features)
        for i, transform in enumerate(transformations):
            changed = inverter.encode(transform(images[batch], directions[batch]))
            moved[i, batch] = metrics.per_image_distance(features, changed)
            shared[i, batch], wanted[i, batch] = equivariance_projection(
                rebuilt, transform(rebuilt, directions[batch]), inverter.invert(changed)
            )
    paired = inverter.encode(images[evenly_spaced_indices(len(images), _MAX_PAIRED)])
    moved = moved.mean(1) / metrics.mean_pairwise_distance(paired)
    return {"shared": shared, "wanted": wanted, "moved": moved}


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=_BORDER)


def _center(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
