"""Features with a single active unit or channel, and correlation of class units with classes."""

import dataclasses
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from tfinvert.analysis.inverters import CLASS_SCORES, NETWORK, inverter_kind, layer_name
from tfinvert.analysis.scores import mean_columns, standard_error
from tfinvert.common.images import resize_images
from tfinvert.inverter import Inverter


def highest_variance_units(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of the units or channels of highest variance, in descending order.

    Args:
      features: `[n, ..., channels]`; the variance is over images and positions.
      count: maximum number of units. Units that never vary are left out.

    Returns:
      `[k]`, with k at most `count`.
    """
    variance = features.reshape(-1, features.shape[-1]).var(0, dtype=np.float64)
    return np.argsort(-variance, kind="stable")[: min(count, np.count_nonzero(variance))]


def isolate_units(
    features: np.ndarray, units: np.ndarray, factor: float, cell: tuple[int, int] | None = None
) -> np.ndarray:
    """Features that are zero except for one unit or channel each.

    Args:
      features: `[n, units]` or `[n, rows, columns, channels]`, from which the largest value of each
        unit is taken.
      units: indices of the units or channels, `[k]`.
      factor: multiple of the largest value to which a unit is set.
      cell: (row, column) of the only active cell of a grid; all cells by default.

    Returns:
      `[k, ...]`, float32.
    """
    values = features.reshape(-1, features.shape[-1]).max(0)[units] * factor
    isolated = np.zeros((len(units), *features.shape[1:]), np.float32)
    for feature, unit, value in zip(isolated, units, values, strict=True):
        feature[(*(cell or (...,)), unit)] = value
    return isolated


def clip_probabilities(inverter: Inverter, features: np.ndarray) -> np.ndarray:
    """Features with values of at most 1 if they are probabilities, else unchanged: `[k, ...]`."""
    return np.minimum(features, 1.0) if inverter.feature.log_floor else features


MIN_CLASSES = 5  # with fewer, ranks and standard errors are not informative


@dataclasses.dataclass(frozen=True, eq=False)
class ClassCorrelations:
    """Correlations of the images of class units with the average photographs of k classes.

    Attributes:
      classes: numbers of the classes, `[k]`.
      counts: photographs of each class, `[k]`.
      correlations: of each unit's image (row) with each average photograph (column), `[k, k]`.
      averages: average photographs, `[k, H, W, 3]`.
      units: images of the units, `[k, H, W, 3]`.
    """

    classes: np.ndarray
    counts: np.ndarray
    correlations: np.ndarray
    averages: np.ndarray
    units: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """Correlation of each unit with its own class: `[k]`."""
        return np.diag(self.correlations)

    @property
    def others(self) -> np.ndarray:
        """Mean correlation of each unit with all other classes: `[k]`."""
        return (self.correlations.sum(1) - self.own) / (len(self.own) - 1)

    @property
    def percentiles(self) -> np.ndarray:
        """Percentage of the other classes that correlate less with a unit than its own: `[k]`."""
        below = (self.correlations < self.own[:, np.newaxis]).sum(1)
        return 100.0 * below / (len(self.own) - 1)

    @property
    def is_sufficient(self) -> bool:
        """True if there are at least `MIN_CLASSES` classes."""
        return len(self.classes) >= MIN_CLASSES


def has_class_units(inverter: Inverter) -> bool:
    """True if the feature has one score or probability for each class of a classifier."""
    is_vector = len(inverter.feature.spec.shape) == 1
    has_classes = layer_name(inverter) in CLASS_SCORES or bool(inverter.feature.log_floor)
    return is_vector and has_classes and inverter_kind(inverter) == NETWORK


def class_averages(
    images: np.ndarray, predicted: np.ndarray, min_photographs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average image of each class with enough images.

    Args:
      images: `[n, H, W, 3]`.
      predicted: class of each image, `[n]`.
      min_photographs: minimum number of images of a class.

    Returns:
      Classes `[k]`, number of images of each `[k]`, and averages `[k, H, W, 3]`.
    """
    classes, counts = np.unique(predicted, return_counts=True)
    enough = counts >= min_photographs
    classes, counts = classes[enough], counts[enough]
    averages = np.float32([images[predicted == each].mean(0) for each in classes])
    return classes, counts, averages.reshape(len(classes), *images.shape[1:])


def pairwise_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlations of images, over pixels and channels: `[k, ...]`, `[m, ...]` → `[k, m]`.

    A constant image has the correlation 0 with all others.
    """
    flat = [images.reshape(len(images), -1) for images in (a, b)]
    return np.nan_to_num(1 - cdist(*flat, "correlation"))


def correlate_with_classes(
    inverter: Inverter,
    images: np.ndarray,
    features: np.ndarray,
    factor: float,
    min_photographs: int,
) -> ClassCorrelations:
    """Correlates images of class units with average photographs.

    Args:
      inverter: an inverter with class units (`has_class_units`).
      images: `[n, H, W, 3]`.
      features: their features, `[n, classes]`.
      factor: see `isolate_units`.
      min_photographs: minimum number of photographs of a class.
    """
    images = resize_images(images, inverter.output_size)
    classes, counts, averages = class_averages(images, features.argmax(1), min_photographs)
    isolated = clip_probabilities(inverter, isolate_units(features, classes, factor))
    units = inverter.invert(isolated)
    # Without their means: what all units, or all photographs, share would correlate for any class.
    return ClassCorrelations(
        classes,
        counts,
        pairwise_correlations(units - units.mean(0), averages - images.mean(0))
        if len(classes)
        else np.zeros((0, 0)),
        averages,
        units,
    )


def class_columns(correlations: ClassCorrelations | None) -> dict[str, Any]:
    """Columns of a table row; None where units are not of classes, or of too few classes."""
    columns = {
        "classes": None if correlations is None else len(correlations.classes),
        "own_correlation": None,
        "other_correlation": None,
        "correlation_gain_se": None,
        "own_percentile": None,
        "own_percentile_se": None,
    }
    if correlations is not None and correlations.is_sufficient:
        own, others = correlations.own, correlations.others
        columns["own_correlation"] = float(own.mean())
        columns["other_correlation"] = float(others.mean())
        columns["correlation_gain_se"] = standard_error(own - others)
        columns |= mean_columns("own_percentile", correlations.percentiles)
    return columns
