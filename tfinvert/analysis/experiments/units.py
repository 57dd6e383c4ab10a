"""Images of single units and channels, and of classes.

This is an experiment of section 5 of the paper. A feature that is zero except for one unit shows
what the inverter associates with that unit. Units of the last layer stand for classes; their images
are compared with the average photographs of the classes, as the network itself classifies the
photographs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_labels,
    shipped_alexnet,
)
from tfinvert.analysis.scores import mean_columns
from tfinvert.analysis.single_units import (
    MIN_CLASSES,
    ClassCorrelations,
    class_columns,
    clip_probabilities,
    correlate_with_classes,
    has_class_units,
    highest_variance_units,
    isolate_units,
)
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

UNIT, EVERYWHERE, ONE_CELL = "one unit", "one channel everywhere", "one channel in one cell"
_MAX_UNITS = 256
_PICTURED_CLASSES = 10


def check(name: str, inverter: Inverter) -> None:
    """Checks that single values of the feature have a meaning.

    Raises:
      InputError: the feature is SIFT.
    """
    if isinstance(inverter.feature, Sift):
        raise InputError(
            "units takes features whose single values have a meaning, and not sift, in which a "
            f"cell has all values of a keypoint. Received: {name}, of {inverter.feature.name}"
        )


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    num_pictures: int = 8,
    factor: float = 2.0,
    min_photographs: int = 3,
) -> Measurement:
    """Inverts features that are zero except for one unit, or for one channel of a grid.

    Class averages and distances are at the size of the inverter's output.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      num_pictures: number of units of each inverter in the pictures.
      factor: multiple of a unit's largest value over the images to which it is set. At 2 the norm
        of the feature of one unit is about that of an image's feature.
      min_photographs: minimum number of photographs of a class for its average.

    Raises:
      InputError: a feature is equal for all images.
    """
    rows, pictures, correlations, pictured = [], {}, {}, {}
    labels = inverter_labels(inverters)
    for name, inverter in tqdm.tqdm(inverters.items(), "units", leave=False):
        features, label, own = inverter.encode(images), labels[name], None
        if has_class_units(inverter):
            own = correlate_with_classes(inverter, images, features, factor, min_photographs)
            correlations[label] = pictured[label] = own
            if not own.is_sufficient:  # too few to measure, but enough for a picture
                pictured[label] = correlate_with_classes(inverter, images, features, factor, 1)
        scale = metrics.mean_pairwise_distance(resize_images(images, inverter.output_size))
        for activation, rebuilt, zeros in _isolated_images(name, inverter, features, factor):
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "activation": activation,
                    **_distances(rebuilt, zeros, scale),
                    **class_columns(own),
                }
            )
            where = "" if activation == UNIT else f", {activation.removeprefix('one channel ')}"
            # Evenly spaced over the quarter of highest variance.
            most = min(len(rebuilt), max(num_pictures, len(rebuilt) // 4))
            some = np.concatenate([zeros, rebuilt[evenly_spaced_indices(most, num_pictures)]])
            pictures[label + where] = resize_images(some, images.shape[1:3])
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "class_correlations": {x: own for x, own in correlations.items() if own.is_sufficient},
            "class_pictures": pictured,
            "unit_pictures": pictures,
        },
        {"images": len(images), "factor": factor, "min_photographs": min_photographs},
    )


def _isolated_images(
    name: str, inverter: Inverter, features: np.ndarray, factor: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Kind of activation, images of the units of highest variance, and the image of zeros."""
    units = highest_variance_units(features, _MAX_UNITS)
    if not len(units):
        raise InputError(
            f"no unit of {inverter.feature.name} varies over the images; give different images. "
            f"Received: {name}, {len(features)} images with equal features"
        )
    zeros = inverter.invert(np.zeros((1, *features.shape[1:]), np.float32))
    cells = {UNIT: None}
    if features.ndim == 4:
        cells = {EVERYWHERE: None, ONE_CELL: (features.shape[1] // 2, features.shape[2] // 2)}
    for activation, cell in cells.items():
        isolated = clip_probabilities(inverter, isolate_units(features, units, factor, cell))
        yield activation, inverter.invert(isolated), zeros


def _distances(rebuilt: np.ndarray, zeros: np.ndarray, scale: float) -> dict[str, Any]:
    moved = metrics.per_image_distance(np.broadcast_to(zeros, rebuilt.shape), rebuilt) / scale
    columns = {
        "units": len(rebuilt),
        **mean_columns("distance_from_zeros", moved),
        "distance_between_units": None,
    }
    if len(rebuilt) == 1:
        return columns | {"distance_from_zeros_se": None}
    return columns | {"distance_between_units": metrics.mean_pairwise_distance(rebuilt) / scale}


def present(measurement: Measurement) -> Presentation:
    """Presents distances of units, correlations with classes, and images of both."""
    arrays, facts = measurement.arrays, measurement.facts
    rows = measurement.table.to_dict("records")
    factor, min_photographs = facts["factor"], facts["min_photographs"]
    return Presentation(
        "Images of single units",
        _lead(facts["images"], factor, bool(arrays["class_pictures"]), min_photographs),
        [
            *(_class_finding(x, min_photographs) for x in rows if pd.notna(x["classes"])),
            *(_finding(x, factor) for x in rows),
        ],
        [
            _units_figure(arrays["unit_pictures"], factor),
            *(_classes_figure(label, own) for label, own in arrays["class_pictures"].items()),
        ],
    )


def _lead(count: int, factor: float, classes: bool, min_photographs: int) -> str:
    text = (
        "Features that are zero except for one unit, or one channel of a grid, are inverted. The "
        f"unit is set to {factor:g} times its largest value over {count} photographs, and a "
        "probability to at most 1. Distances are in units of N, the mean distance between two of "
        "these photographs, at the size of the inverter's output, over the "
        f"{_MAX_UNITS} units of highest variance."
    )
    if classes:
        text += (
            " Images of class units are compared with the average photographs of classes that the "
            f"network assigns to at least {min_photographs} photographs. Correlations are over "
            "pixels and colours, after subtracting the mean of all photographs and the mean of "
            "these units' images."
        )
    return text


def _finding(row: Mapping[str, Any], factor: float) -> str:
    apart = row["distance_between_units"]
    return (
        f"{row['label']}: {row['activation']}, at {factor:g} times its largest value, changes the "
        f"image of zeros by {row['distance_from_zeros']:.2f} N"
        + (f"; two such images are {apart:.2f} N apart." if pd.notna(apart) else ".")
    )


def _class_finding(row: Mapping[str, Any], min_photographs: int) -> str:
    if pd.isna(row["own_percentile"]):
        return (
            f"{row['label']}: only {row['classes']} classes have at least {min_photographs} "
            "photographs, too few to compare units with class averages, which takes "
            f"{MIN_CLASSES}."
        )
    return (
        "{label}: the image of a class's unit has a correlation of {own_correlation:.2f} with the "
        "average photograph of its own class and {other_correlation:.2f} with those of others; "
        "among all {classes} classes its own is at the {own_percentile:.0f} ± "
        "{own_percentile_se:.0f} percentile (chance: 50)."
    ).format_map(row)


def _units_figure(pictures: Mapping[str, np.ndarray], factor: float) -> Figure:
    count = min(map(len, pictures.values()))
    return image_rows(
        {label: images[:count] for label, images in pictures.items()},
        title="Single units",
        caption="Images of zeros, and of zeros with one unit or channel at "
        f"{factor:g} times its largest value over the photographs: units of high variance, in "
        "descending order from left to right. Units of different layers in one column are "
        "unrelated.",
        columns=["zeros", *map(str, range(1, count))],
    )


def _classes_figure(label: str, correlations: ClassCorrelations) -> Figure:
    chosen = np.argsort(-correlations.counts, kind="stable")[:_PICTURED_CLASSES]
    return image_rows(
        {
            "average photograph": correlations.averages[chosen],
            f"{label} unit": correlations.units[chosen],
        },
        title=f"Classes and their units: {label}",
        caption="Average photographs of the most frequent predicted classes, above the images of "
        "their units alone. Numbers are those of the classes.",
        columns=[str(each) for each in correlations.classes[chosen]],
    )


EXPERIMENT = Experiment(
    order=90,
    default_inverters=shipped_alexnet("conv5", "fc6", "fc7", "fc8"),
    measure=measure,
    judge=claims.units,
    present=present,
    check=check,
    exhibits=(
        Exhibit(
            100,
            "Single units",
            "Single units",
            "All activations are zero except one. A unit of a deep layer stands for a whole scene "
            "and its colours, a channel of a convolution for a colour or texture wherever it is "
            "active.",
        ),
        Exhibit(
            110,
            "Units of classes",
            "Classes and their units",
            "Above, the average of the photographs that the network assigns to one class; below, "
            "the image of that class's unit alone. Their common colours and rough shape are what "
            "the unit has learnt to expect; with so few photographs the averages show them only "
            "faintly.",
            "Units of classes",
        ),
    ),
)
