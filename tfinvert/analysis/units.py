"""Images of single units, and whether those of classes look like the classes (section 5).

A feature that is zero but for one unit shows what the inverter takes that unit to say. Units of the
last layer stand for classes: theirs are compared with the average photographs of these classes, as
the network itself sorts the photographs.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import kind, labels, layer_of
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

UNIT, EVERYWHERE, ONE_CELL = "one unit", "one channel everywhere", "one channel in one cell"
_SCORES = "fc8"
_MEASURED = 256
_CLASSES = 5  # with fewer, a rank among the others and a standard error say little
_SHOWN_CLASSES = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Likeness:
    """Correlation of units' images with the average photographs of classes.

    Attributes:
      classes: `[k]`, those of which there are enough photographs.
      counts: `[k]`, photographs of each.
      correlations: `[k, k]`, of each class's unit with each class's average.
      averages: `[k, H, W, 3]`, the average photographs.
      units: `[k, H, W, 3]`, the units' images.
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


def check(name: str, inverter: Inverter) -> None:
    """Whether single values of an inverter's feature say something.

    Raises:
      InputError: it is of SIFT.
    """
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
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      shown: how many units of each inverter are drawn.
      factor: what a unit's largest value over the images is multiplied with. At 2 the feature of
        one unit is about as long as that of an image.
      least: photographs that a class must have for its average.

    Raises:
      InputError: an inverter does not fit (`check`), or its feature is the same for all images.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    called = labels(inverters)
    rows, pictures, likenesses, drawn = [], {}, {}, {}
    for name, inverter in tqdm.tqdm(inverters.items(), "units", leave=False):
        features = inverter.encode(images)
        likeness = None
        if gives_classes(inverter):
            likeness = _likeness(inverter, images, features, factor, least)
            likenesses[name] = drawn[name] = likeness
            if len(likeness.classes) < _CLASSES:  # too few to measure, but something to look at
                drawn[name] = _likeness(inverter, images, features, factor, 1)
        scale = metrics.mean_pairwise_distance(resize_images(images, inverter.output_size))
        for how, rebuilt, nothing in _switched_on(name, inverter, features, factor):
            rows.append(
                {
                    "inverter": name,
                    "layer": layer_of(inverter),
                    "kind": kind(inverter),
                    "switched on": how,
                    **_distances(rebuilt, nothing, scale),
                    **_class_values(likeness),
                }
            )
            row = called[name] if how == UNIT else f"{called[name]}, {how.partition('channel ')[2]}"
            some = np.concatenate([nothing, rebuilt[_spread(len(rebuilt), shown)]])
            pictures[row] = resize_images(some, images.shape[1:3])
    enough = {name: own for name, own in likenesses.items() if len(own.classes) >= _CLASSES}
    return Result(
        "What single units say",
        _lead(len(images), factor, bool(likenesses), least),
        [
            *(_class_finding(called[name], own, least) for name, own in likenesses.items()),
            *(_finding(called[row["inverter"]], row, factor) for row in rows),
        ],
        rows,
        [
            _units_figure(pictures, factor),
            *(_classes_figure(called[name], own) for name, own in drawn.items()),
        ],
        [claim({called[name]: own for name, own in enough.items()})] if enough else [],
    )


def gives_classes(inverter: Inverter) -> bool:
    """Whether the feature is a score or a probability for each class."""
    vector = len(inverter.feature.spec.shape) == 1
    return vector and bool(layer_of(inverter) == _SCORES or inverter.feature.log_floor)


def that_vary_most(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of the units or channels of highest variance, the highest first.

    Args:
      features: `[n, ..., channels]`; variance is over images and positions.
      count: at most so many, and none that never varies.
    """
    variance = features.reshape(-1, features.shape[-1]).var(0, dtype=np.float64)
    return np.argsort(-variance, kind="stable")[: min(count, np.count_nonzero(variance))]


def only(
    features: np.ndarray, chosen: np.ndarray, factor: float, cell: tuple[int, int] | None = None
) -> np.ndarray:
    """Features that are zero but for one unit or channel each, at its largest value.

    Args:
      features: `[n, units]` or `[n, rows, columns, channels]`, whose largest values are taken.
      chosen: `[k]`, which units or channels.
      factor: what the largest value is multiplied with.
      cell: of a grid, the only one that is switched on; None for all.

    Returns:
      float32 `[k, ...]`.
    """
    largest = features.reshape(-1, features.shape[-1]).max(0)[chosen] * factor
    made = np.zeros((len(chosen), *features.shape[1:]), np.float32)
    for one, unit, value in zip(made, chosen, largest, strict=True):
        one[(*(cell or (...,)), unit)] = value
    return made


def possible(inverter: Inverter, features: np.ndarray) -> np.ndarray:
    """The features, of which probabilities are 1 at most: `[k, ...]`."""
    return np.minimum(features, 1.0) if inverter.feature.log_floor else features


def class_averages(
    images: np.ndarray, predicted: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The average image of every class of which there are enough.

    Args:
      images: `[n, H, W, 3]`.
      predicted: `[n]`, each image's class.
      least: images that a class must have.

    Returns:
      classes `[k]`, the number of images of each `[k]`, and averages `[k, H, W, 3]`.
    """
    classes, counts = np.unique(predicted, return_counts=True)
    classes, counts = classes[counts >= least], counts[counts >= least]
    averages = np.zeros((len(classes), *images.shape[1:]), np.float32)
    for average, each in zip(averages, classes, strict=True):
        average[:] = images[predicted == each].mean(0)
    return classes, counts, averages


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's, over pixels and channels, of each of `[k, ...]` with each of `[m, ...]`: `[k, m]`.

    An image without contrast has the correlation 0 with all.
    """
    flat = [each.reshape(len(each), -1).astype(np.float64) for each in (a, b)]
    flat = [each - each.mean(1, keepdims=True) for each in flat]
    lengths = [np.linalg.norm(each, axis=1) for each in flat]
    scale = np.outer(*lengths)
    return np.divide(flat[0] @ flat[1].T, scale, out=np.zeros_like(scale), where=scale > 0)


def claim(likenesses: Mapping[str, Likeness]) -> Claim:
    """Whether units of classes are more like their own class than like others.

    Args:
      likenesses: by what each inverter is called, of at least two classes each.
    """
    texts, holds = [], True
    for label, own in likenesses.items():
        gain = own.own - own.others
        holds &= bool(gain.mean() > 2 * scipy.stats.sem(gain))
        texts.append(
            f"{label} {own.own.mean():.3f} with its own class, {own.others.mean():.3f} with "
            f"others, difference {gain.mean():.3f} ± {scipy.stats.sem(gain):.3f} over "
            f"{len(gain)} classes"
        )
    return Claim(
        "Units of classes (fc8) look like class averages.",
        "The correlation of a class's unit with the average photograph of its own class is above "
        "the mean of that with other classes by more than two standard errors over classes.",
        "; ".join(texts),
        holds,
    )


def _likeness(
    inverter: Inverter, images: np.ndarray, features: np.ndarray, factor: float, least: int
) -> Likeness:
    images = resize_images(images, inverter.output_size)
    classes, counts, averages = class_averages(images, features.argmax(1), least)
    rebuilt = inverter.invert(possible(inverter, only(features, classes, factor)))
    # What all units, and all photographs, have in common would be alike for any class.
    return Likeness(
        classes,
        counts,
        correlations(rebuilt - rebuilt.mean(0), averages - images.mean(0))
        if len(classes)
        else np.zeros((0, 0)),
        averages,
        rebuilt,
    )


def _switched_on(
    name: str, inverter: Inverter, features: np.ndarray, factor: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """How, the images of the units that vary most, and the image of zeros, `[1, H, W, 3]`."""
    chosen = that_vary_most(features, _MEASURED)
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
        made = possible(inverter, only(features, chosen, factor, cell))
        yield how, inverter.invert(made), nothing


def _spread(count: int, shown: int) -> np.ndarray:
    """Indices of evenly spaced ones of the first quarter, those that vary most."""
    return evenly(min(count, max(shown, count // 4)), shown)


def _distances(rebuilt: np.ndarray, nothing: np.ndarray, scale: float) -> dict[str, object]:
    moved = metrics.per_image_distance(np.broadcast_to(nothing, rebuilt.shape), rebuilt) / scale
    several = len(rebuilt) > 1
    return {
        "units": len(rebuilt),
        "distance from zeros (N)": float(moved.mean()),
        "standard error (N)": float(scipy.stats.sem(moved)) if several else None,
        "distance between units (N)": float(metrics.mean_pairwise_distance(rebuilt) / scale)
        if several
        else None,
    }


def _class_values(likeness: Likeness | None) -> dict[str, object]:
    values: dict[str, object] = dict.fromkeys(
        (
            "classes",
            "correlation with own class",
            "correlation with others",
            "standard error of the difference",
            "percentile of own class",
            "standard error of the percentile",
        )
    )
    if likeness is None:
        return values
    count = len(likeness.classes)
    if count < _CLASSES:
        return values | {"classes": count}
    own, others, percentiles = likeness.own, likeness.others, likeness.percentiles
    measured = (own.mean(), others.mean(), scipy.stats.sem(own - others))
    ranked = (percentiles.mean(), scipy.stats.sem(percentiles))
    return dict(zip(values, (count, *map(float, (*measured, *ranked))), strict=True))


def _lead(count: int, factor: float, classes: bool, least: int) -> str:
    text = (
        "Features that are zero but for one unit, or one channel of a grid, are inverted. It is "
        f"set to {factor:g} times its largest value over {count} photographs, probabilities to 1 "
        "at most. Distances are in "
        "units of N, the mean distance between two of these photographs, at the size of the "
        f"inverter's output, over the {_MEASURED} units that vary most."
    )
    if classes:
        text += (
            " Units that stand for classes are compared with the average photograph of each class "
            f"that the network sees in at least {least} of them, less the mean of all; "
            "correlations are over pixels and colours, less the mean of these units' images."
        )
    return text


def _finding(label: str, row: dict, factor: float) -> str:
    apart = row["distance between units (N)"]
    return (
        f"{label}: {row['switched on']}, at {factor:g} times its largest value, moves the image by "
        f"{row['distance from zeros (N)']:.2f} N from that of zeros"
        + (f"; two such images are {apart:.2f} N apart." if apart is not None else ".")
    )


def _class_finding(label: str, likeness: Likeness, least: int) -> str:
    count = len(likeness.classes)
    if count < _CLASSES:
        return (
            f"{label}: only {count} classes are seen in at least {least} photographs, too few to "
            f"compare units with class averages, which takes {_CLASSES}."
        )
    percentiles = likeness.percentiles
    return (
        f"{label}: a class's unit has the correlation {likeness.own.mean():.2f} with the average "
        f"photograph of its own class and {likeness.others.mean():.2f} with those of others; among "
        f"all {count} classes its own is at the {percentiles.mean():.0f} ± "
        f"{scipy.stats.sem(percentiles):.0f} percentile (chance: 50)."
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


def _classes_figure(label: str, likeness: Likeness) -> Figure:
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
