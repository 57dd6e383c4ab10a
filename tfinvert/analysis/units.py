"""Images of single units, and whether those of classes look like the classes (section 5).

A feature that is zero but for one unit shows what the inverter takes that unit to say. Units of the
last layer stand for classes: theirs are compared with the average photographs of these classes, as
the network itself sorts the photographs.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims, class_units
from tfinvert.analysis.class_units import (
    FEWEST,
    ClassCorrelations,
    class_finding,
    correlate_with_classes,
)
from tfinvert.analysis.inverters import inverter_labels
from tfinvert.analysis.result import Result, Row, add_labels, inverter_columns
from tfinvert.analysis.single_units import clip_probabilities, highest_variance_units, isolate_units
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

UNIT, EVERYWHERE, ONE_CELL = "one unit", "one channel everywhere", "one channel in one cell"
_MEASURED = 256
_SHOWN_CLASSES = 10


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for SIFT, of which single values say nothing."""
    if isinstance(inverter.feature, Sift):
        raise InputError(
            "units takes features whose single values say something, and not sift, whose cells "
            f"hold a keypoint's values together. Received: {name}, of {inverter.feature.name}"
        )


def units(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    shown: int = 8,
    factor: float = 2.0,
    least: int = 3,
) -> Result:
    """Inverts features that are zero but for one unit, or for one channel of a grid.

    Class averages and distances are at the size of the inverter's output.

    Args:
      shown: how many units of each inverter are drawn.
      factor: what a unit's largest value over the images is multiplied with. At 2 the feature of
        one unit is about as long as that of an image.
      least: photographs that a class must have for its average.

    Raises:
      InputError: an inverter does not fit (`check`), or its feature is the same for all images.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    called = inverter_labels(inverters)
    rows, pictures, likenesses, drawn = [], {}, {}, {}
    for name, inverter in tqdm.tqdm(inverters.items(), "units", leave=False):
        features = inverter.encode(images)
        likeness = None
        if class_units.has_class_units(inverter):
            likeness = correlate_with_classes(inverter, images, features, factor, least)
            likenesses[name] = drawn[name] = likeness
            if len(likeness.classes) < FEWEST:  # too few to measure, but something to look at
                drawn[name] = correlate_with_classes(inverter, images, features, factor, 1)
        scale = metrics.mean_pairwise_distance(resize_images(images, inverter.output_size))
        for how, rebuilt, nothing in _switched_on(name, inverter, features, factor):
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "switched on": how,
                    **_distances(rebuilt, nothing, scale),
                    **class_units.class_values(likeness),
                }
            )
            row = called[name] if how == UNIT else f"{called[name]}, {how.partition('channel ')[2]}"
            # Evenly spaced ones of the first quarter, those that vary most.
            most = min(len(rebuilt), max(shown, len(rebuilt) // 4))
            some = np.concatenate([nothing, rebuilt[evenly_spaced_indices(most, shown)]])
            pictures[row] = resize_images(some, images.shape[1:3])
    enough = {name: own for name, own in likenesses.items() if len(own.classes) >= FEWEST}
    table = add_labels(rows, inverters)
    return Result(
        "What single units say",
        _lead(len(images), factor, bool(likenesses), least),
        [
            *(class_finding(row, least) for row in table if row["classes"] is not None),
            *(_finding(row, factor) for row in table),
        ],
        rows,
        [
            _units_figure(pictures, factor),
            *(_classes_figure(called[name], own) for name, own in drawn.items()),
        ],
        claims.units({called[name]: (own.own, own.others) for name, own in enough.items()}),
    )


def _switched_on(
    name: str, inverter: Inverter, features: np.ndarray, factor: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """How, the images of the units that vary most, and the image of zeros, `[1, H, W, 3]`."""
    chosen = highest_variance_units(features, _MEASURED)
    if not len(chosen):
        raise InputError(
            f"the {len(features)} images are all the same to {inverter.feature.name}, so that no "
            f"unit of {name} varies; give different photographs"
        )
    nothing = inverter.invert(np.zeros((1, *features.shape[1:]), np.float32))
    ways = {UNIT: None}
    if features.ndim == 4:
        ways = {EVERYWHERE: None, ONE_CELL: (features.shape[1] // 2, features.shape[2] // 2)}
    for how, cell in ways.items():
        made = clip_probabilities(inverter, isolate_units(features, chosen, factor, cell))
        yield how, inverter.invert(made), nothing


def _distances(rebuilt: np.ndarray, nothing: np.ndarray, scale: float) -> dict[str, object]:
    moved = metrics.per_image_distance(np.broadcast_to(nothing, rebuilt.shape), rebuilt) / scale
    several = len(rebuilt) > 1
    return {
        "units": len(rebuilt),
        "distance from zeros (N)": float(moved.mean()),
        "standard error (N)": float(scipy.stats.sem(moved)) if several else None,
        "distance between units (N)": metrics.mean_pairwise_distance(rebuilt) / scale
        if several
        else None,
    }


def _lead(count: int, factor: float, classes: bool, least: int) -> str:
    text = (
        "Features that are zero but for one unit, or one channel of a grid, are inverted. It is "
        f"set to {factor:g} times its largest value over {count} photographs, probabilities to 1 "
        "at most. Distances are in units of N, the mean distance between two of these photographs, "
        f"at the size of the inverter's output, over the {_MEASURED} units that vary most."
    )
    if classes:
        text += (
            " Units that stand for classes are compared with the average photograph of each class "
            f"that the network sees in at least {least} of them, less the mean of all; "
            "correlations are over pixels and colours, less the mean of these units' images."
        )
    return text


def _finding(row: Row, factor: float) -> str:
    apart = row["distance between units (N)"]
    return (
        f"{row['label']}: {row['switched on']}, at {factor:g} times its largest value, moves the "
        f"image by {row['distance from zeros (N)']:.2f} N from that of zeros"
        + (f"; two such images are {apart:.2f} N apart." if apart is not None else ".")
    )


def _units_figure(pictures: Mapping[str, np.ndarray], factor: float) -> Figure:
    count = min(map(len, pictures.values()))
    return image_rows(
        {label: batch[:count] for label, batch in pictures.items()},
        title="Single units",
        caption="Images of zeros, and of zeros with one unit or channel at "
        f"{factor:g} times its largest value over the photographs: some of those that vary most, "
        "the most on the left. Units of two layers in one column have nothing in common.",
        columns=["zeros", *map(str, range(1, count))],
    )


def _classes_figure(label: str, likeness: ClassCorrelations) -> Figure:
    chosen = np.argsort(-likeness.counts, kind="stable")[:_SHOWN_CLASSES]
    return image_rows(
        {
            "average photograph": likeness.averages[chosen],
            f"{label} unit": likeness.units[chosen],
        },
        title=f"Classes and their units: {label}",
        caption="Average photographs of the classes the network sees most often, above the images "
        "of their units alone. Numbers are those of the classes.",
        columns=[str(each) for each in likeness.classes[chosen]],
    )
