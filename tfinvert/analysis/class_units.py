"""Units that stand for classes beside the average photographs of these classes."""

import dataclasses
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from tfinvert.analysis.inverters import CLASS_SCORES, NETWORK, inverter_kind, layer_name
from tfinvert.analysis.result import Row, mean_and_error, standard_error
from tfinvert.analysis.single_units import clip_probabilities, isolate_units
from tfinvert.common.images import resize_images
from tfinvert.inverter import Inverter

_COLUMNS = (
    "classes",
    "correlation with own class",
    "correlation with others",
    "standard error of the difference",
    "percentile of own class",
    "standard error of the percentile",
)
FEWEST = 5  # with fewer, a rank among the others and a standard error say little


@dataclasses.dataclass(frozen=True, eq=False)
class ClassCorrelations:
    """Correlations, `[k, k]`, of units' images with the average photographs of k classes.

    There are `counts` photographs of each; averages and units are images, `[k, H, W, 3]`.
    """

    classes: np.ndarray
    counts: np.ndarray
    correlations: np.ndarray
    averages: np.ndarray
    units: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """Each unit's correlation with its own class: `[k]`."""
        return np.diag(self.correlations)

    @property
    def others(self) -> np.ndarray:
        """Each unit's mean correlation with all other classes: `[k]`."""
        return (self.correlations.sum(1) - self.own) / (len(self.own) - 1)

    @property
    def percentiles(self) -> np.ndarray:
        """Percentage of the other classes that each unit is less like than its own: `[k]`."""
        below = (self.correlations < self.own[:, np.newaxis]).sum(1)
        return 100.0 * below / (len(self.own) - 1)


def has_class_units(inverter: Inverter) -> bool:
    """Whether the feature is a score or a probability for each class, as a classifier learnt it."""
    vector = len(inverter.feature.spec.shape) == 1
    classes = layer_name(inverter) in CLASS_SCORES or bool(inverter.feature.log_floor)
    return vector and classes and inverter_kind(inverter) == NETWORK


def class_averages(
    images: np.ndarray, predicted: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of images `[n, H, W, 3]` and their classes `[n]`, the average of each of `least` images.

    Returns:
      classes `[k]`, the number of images of each `[k]`, and averages `[k, H, W, 3]`.
    """
    classes, counts = np.unique(predicted, return_counts=True)
    classes, counts = classes[counts >= least], counts[counts >= least]
    averages = np.float32([images[predicted == each].mean(0) for each in classes])
    return classes, counts, averages.reshape(len(classes), *images.shape[1:])


def pairwise_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's, over pixels and channels, of each of `[k, ...]` with each of `[m, ...]`: `[k, m]`.

    An image without contrast has the correlation 0 with all.
    """
    flat = [each.reshape(len(each), -1) for each in (a, b)]
    return np.nan_to_num(1 - cdist(*flat, "correlation"))


def correlate_with_classes(
    inverter: Inverter, images: np.ndarray, features: np.ndarray, factor: float, least: int
) -> ClassCorrelations:
    """Of an inverter's units to the classes of which there are `least` photographs."""
    images = resize_images(images, inverter.output_size)
    classes, counts, averages = class_averages(images, features.argmax(1), least)
    rebuilt = inverter.invert(
        clip_probabilities(inverter, isolate_units(features, classes, factor))
    )
    # What all units, and all photographs, have in common would be alike for any class.
    return ClassCorrelations(
        classes,
        counts,
        pairwise_correlations(rebuilt - rebuilt.mean(0), averages - images.mean(0))
        if len(classes)
        else np.zeros((0, 0)),
        averages,
        rebuilt,
    )


def class_values(likeness: ClassCorrelations | None) -> dict[str, Any]:
    """What a row says of them; None where units are not of classes, or of too few."""
    count = None if likeness is None else len(likeness.classes)
    values = [None] * 5
    if count is not None and count >= FEWEST:
        own, others = likeness.own, likeness.others
        values = [float(own.mean()), float(others.mean()), standard_error(own - others)]
        values += mean_and_error(likeness.percentiles)
    return dict(zip(_COLUMNS, (count, *values), strict=True))


def class_finding(row: Row, least: int) -> str:
    """Such a row, with its "label", as a sentence."""
    if row["percentile of own class"] is None:
        return (
            f"{row['label']}: only {row['classes']} classes are seen in at least {least} "
            f"photographs, too few to compare units with class averages, which takes {FEWEST}."
        )
    return (
        "{label}: a class's unit has the correlation {correlation with own class:.2f} with the "
        "average photograph of its own class and {correlation with others:.2f} with those of "
        "others; among all {classes} classes its own is at the {percentile of own class:.0f} ± "
        "{standard error of the percentile:.0f} percentile (chance: 50)."
    ).format_map(row)
