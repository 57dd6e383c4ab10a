"""What the class scores carry: the largest of them, or all the others (section 5 of the paper).

The paper inverts a classification with all but its top five classes set to zero, and with these
alone: "dark knowledge" (Hinton et al. 2015) is what the small probabilities know of the image.
Zeros lie far from anything that a network saw in training, the more so where it is given logarithms
(`Feature.log_floor`). So classes are also evened out: what tells them apart goes, their sum stays.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import CLASS_SCORES, NETWORK, kind, layer_of
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import line_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

COUNTS = (1, 5, 20, 100, 500)
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
ALL = "all classes"
KEPT, REMOVED = "top only", "all but the top"
REST_EVEN, TOP_EVEN = "all but the top evened out", "top evened out"
TEMPERED = "temperature"
_CLAIMED = 5
_SHOWN, _DRAWN = 8, 4

Change = Callable[[np.ndarray], np.ndarray]
Key = tuple[str, int | float | None]


def keep_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The `count` most probable classes alone: the others are zero, and the sum is one again.

    Args:
      probabilities: `[B, classes]`, rows that sum to one; of equal ones the first is the larger.
      count: 1 … classes.
    """
    return _shares(np.where(_top(probabilities, count), probabilities, 0.0))


def remove_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """All but the `count` most probable classes: these are zero, and the sum is one again.

    Where the others' probabilities are all zero, they share the sum evenly: nothing is known.

    Args:
      probabilities: as in `keep_top`.
      count: 1 … classes - 1.
    """
    top = _top(probabilities, count)
    rest = np.where(top, 0.0, probabilities)
    return _shares(np.where(rest.sum(1, keepdims=True) > 0, rest, ~top))


def even_out_rest(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The `count` most probable classes as they are; the others share what is left evenly.

    Args:
      probabilities: as in `keep_top`.
      count: 1 … classes.
    """
    return _evened(probabilities, ~_top(probabilities, count))


def even_out_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The `count` most probable classes share their sum evenly; the others are as they are.

    Args:
      probabilities: as in `keep_top`.
      count: 1 … classes.
    """
    return _evened(probabilities, _top(probabilities, count))


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), with the sum one again: T above 1 makes classes more alike, below 1 less.

    Args:
      probabilities: `[B, classes]`.
      temperature: T, positive.
    """
    return scipy.special.softmax(_log(probabilities) / temperature, 1)


def on_logits(change: Change, logits: np.ndarray) -> np.ndarray:
    """Changes the probabilities that logits stand for, and gives logits again.

    These are log p' + log Σ exp(logit), so that unchanged probabilities give unchanged logits. What
    became zero gets the smallest logit of its row: no class of that image was less probable, and a
    network has seen such values, if never of so many classes at once.

    Args:
      change: from probabilities `[B, classes]` to probabilities.
      logits: `[B, classes]`.
    """
    logits = np.asarray(logits, np.float64)
    back = _log(change(scipy.special.softmax(logits, 1)))
    back += scipy.special.logsumexp(logits, 1, keepdims=True)
    return np.where(np.isfinite(back), back, logits.min(1, keepdims=True))


class _Variant(NamedTuple):
    name: str
    count: int | None = None
    temperature: float | None = None
    change: Change = np.asarray

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.name, self.count or self.temperature

    @property
    def label(self) -> str:
        """What its row of images is called."""
        if self.temperature is not None:
            return f"{self.name} {self.temperature:g}"
        return self.name.replace("top", f"top {self.count}")


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What changing one inverter's class scores did.

    Attributes:
      name: the inverter's.
      probabilities: whether it inverts probabilities, else logits.
      errors: by variant and its count or temperature, each image's normalised error: `[n]`.
      distances: likewise, the normalised distance to the reconstruction from all classes.
      apart: the mean distance between two photographs' reconstructions from all classes.
    """

    name: str
    probabilities: bool
    errors: Mapping[Key, np.ndarray]
    distances: Mapping[Key, np.ndarray]
    apart: float


def check(name: str, inverter: Inverter) -> None:
    """Refuses what does not invert one score for each class.

    Raises:
      InputError: the feature is neither probabilities nor logits, or an autoencoder's, whose
        encoder has left the classes behind.
    """
    feature, made = inverter.feature, kind(inverter)
    scores = feature.log_floor > 0 or layer_of(inverter) in CLASS_SCORES
    if not scores or len(feature.spec.shape) != 1 or made != NETWORK:
        raise InputError(
            "probabilities takes inversion networks of class probabilities or of a layer named "
            f"{' or '.join(CLASS_SCORES)}. Received: {name}, {made} of {feature.name}"
        )


def probabilities(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    counts: tuple[int, ...] = COUNTS,
    temperatures: tuple[float, ...] = TEMPERATURES,
) -> Result:
    """Inverts class scores of which the top, or all the others, are taken away.

    Reconstructions are resized to the images' size and compared there; N is of these images. Logits
    are changed as the probabilities that they stand for; see `on_logits`.

    Args:
      inverters: by name, of class probabilities or logits.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: as all experiments take one; nothing here is drawn.
      counts: how many classes are the top; those that leave no others are left out.
      temperatures: see `temper`.

    Raises:
      InputError: `check` refuses an inverter, a setting is not positive, no count is smaller than
        an inverter's number of classes, or the images are all the same.
    """
    del seed
    for name, inverter in inverters.items():
        check(name, inverter)
        _fitting(counts, inverter)
    if any(value <= 0 for value in (*counts, *temperatures)):
        raise InputError(
            "counts and temperatures must be positive. Received: "
            f"counts={tuple(counts)}, temperatures={tuple(temperatures)}"
        )
    scale = metrics.mean_pairwise_distance(images)
    mean = np.broadcast_to(images.mean(0), images.shape)
    mean_error = metrics.normalized_error(images, mean, scale)
    chosen = evenly(len(images), _SHOWN)
    rows, findings, figures, outcomes = [], [], [], []
    for name, inverter in tqdm.tqdm(inverters.items(), "probabilities", leave=False):
        features, own = inverter.encode(images), _fitting(counts, inverter)
        everything = resize_images(inverter.invert(features), images.shape[1:3])
        errors, distances, shown = {}, {}, {"original": images[chosen]}
        for variant in _variants(own, temperatures):
            changed = _changed(inverter, features, variant.change)
            rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
            error = metrics.per_image_distance(images, rebuilt) / scale
            distance = metrics.per_image_distance(everything, rebuilt) / scale
            errors[variant.key], distances[variant.key] = error, distance
            facts = {"inverter": name, "layer": layer_of(inverter), "kind": kind(inverter)}
            rows.append(facts | _row(variant, error, distance))
            if variant.count in (None, _focus(own)) and variant.temperature != 1:
                shown[variant.label] = rebuilt[chosen]
        apart = metrics.mean_pairwise_distance(everything) / scale
        outcome = Outcome(name, inverter.feature.log_floor > 0, errors, distances, apart)
        outcomes.append(outcome)
        findings += _findings(outcome, _focus(own), temperatures)
        if len(outcomes) <= _DRAWN:
            figures += [_chart(outcome, own), _pictures(name, shown)]
    return Result(
        "What the largest class scores carry, and what all the others",
        f"{len(images)} photographs, compared at {images.shape[1]}×{images.shape[2]} pixels, in "
        f"units of N; the mean of these photographs has the error {mean_error:.3f}. Classes that "
        "are taken away are set to zero or, since no network saw zeros in training, evened out: "
        "each gets the mean of their probabilities. Standard errors are over images.",
        findings,
        rows,
        figures,
        claims(outcomes),
    )


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """What the paper found that these outcomes can test."""
    tested = [
        outcome
        for outcome in outcomes
        if outcome.probabilities and (KEPT, _CLAIMED) in outcome.distances
    ]
    if not tested:
        return []
    return [
        _dark_knowledge(
            tested,
            KEPT,
            REMOVED,
            "Dark knowledge: without the top five classes the image comes back as from all of "
            "them, from these five alone it does not.",
            "From all probabilities but the top 5, which are zero, the reconstruction is nearer to "
            "that from all than from the top 5 alone",
        ),
        _dark_knowledge(
            tested,
            REST_EVEN,
            TOP_EVEN,
            "Dark knowledge, with no class set to zero: what tells the small probabilities apart "
            "matters more than what tells the top five apart.",
            "With the top 5 evened out the reconstruction is nearer to that from all than with all "
            "others evened out",
        ),
    ]


def _dark_knowledge(
    tested: Sequence[Outcome], small: str, top: str, finding: str, measure: str
) -> Claim:
    """Whether the variant without `small` probabilities moves further than that without the top."""
    further = [each.distances[small, _CLAIMED] - each.distances[top, _CLAIMED] for each in tested]
    compared = [(float(each.mean()), float(scipy.stats.sem(each))) for each in further]
    return Claim(
        finding,
        f"{measure}, by more than 2 standard errors, paired over images.",
        ", ".join(
            f"{outcome.name} nearer by {mean:+.3f} ± {error:.3f} N"
            for outcome, (mean, error) in zip(tested, compared, strict=True)
        ),
        all(mean > 2 * error for mean, error in compared),
    )


def _top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Which classes are the `count` most probable ones: bool `[B, classes]`."""
    order = np.argsort(-probabilities, 1, kind="stable")
    top = np.zeros(probabilities.shape, bool)
    np.put_along_axis(top, order[:, :count], True, 1)
    return top


def _shares(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values / values.sum(1, keepdims=True)


def _evened(probabilities: np.ndarray, which: np.ndarray) -> np.ndarray:
    values = np.asarray(probabilities, np.float64)
    total = np.where(which, values, 0.0).sum(1, keepdims=True)
    return np.where(which, total / np.maximum(which.sum(1, keepdims=True), 1), values)


def _log(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float64))


def _fitting(counts: Sequence[int], inverter: Inverter) -> list[int]:
    """Those of the counts that leave some classes, from the smallest."""
    classes = inverter.feature.spec.shape[0]
    fitting = sorted({count for count in counts if count < classes})
    if not fitting:
        raise InputError(
            f"one of the counts must be below the {classes} classes of {inverter.feature.name}. "
            f"Received: {tuple(counts)}"
        )
    return fitting


def _focus(counts: Sequence[int]) -> int:
    """The paper's five where it is among them."""
    return _CLAIMED if _CLAIMED in counts else counts[len(counts) // 2]


def _variants(counts: Sequence[int], temperatures: Sequence[float]) -> list[_Variant]:
    changes = {
        KEPT: keep_top,
        REMOVED: remove_top,
        REST_EVEN: even_out_rest,
        TOP_EVEN: even_out_top,
    }
    return [
        _Variant(ALL),
        *(
            _Variant(name, count=count, change=functools.partial(change, count=count))
            for name, change in changes.items()
            for count in counts
        ),
        *(
            _Variant(
                TEMPERED, temperature=float(t), change=functools.partial(temper, temperature=t)
            )
            for t in temperatures
        ),
    ]


def _changed(inverter: Inverter, features: np.ndarray, change: Change) -> np.ndarray:
    return change(features) if inverter.feature.log_floor > 0 else on_logits(change, features)


def _row(variant: _Variant, error: np.ndarray, distance: np.ndarray) -> dict[str, Any]:
    return {
        "variant": variant.name,
        "top": variant.count,
        "temperature": variant.temperature,
        "normalised error": float(error.mean()),
        "standard error of the error": float(scipy.stats.sem(error)),
        "distance to all": float(distance.mean()),
        "standard error of the distance": float(scipy.stats.sem(distance)),
    }


def _findings(outcome: Outcome, count: int, temperatures: Sequence[float]) -> list[str]:
    def moved(name: str, setting: float = count) -> str:
        distance = outcome.distances[name, setting]
        return f"{distance.mean():.3f} ± {scipy.stats.sem(distance):.3f}"

    def error(name: str, setting: float | None = count) -> str:
        return f"{outcome.errors[name, setting].mean():.3f}"

    difference = outcome.distances[REST_EVEN, count] - outcome.distances[TOP_EVEN, count]
    if abs(difference.mean()) <= 2 * scipy.stats.sem(difference):
        verdict = "they tell as much"
    else:
        verdict = f"{'the others' if difference.mean() > 0 else f'the top {count}'} tell more"
    found = [
        f"{outcome.name}: the reconstruction moves by {moved(KEPT)} N when the top {count} classes "
        f"alone are left, and by {moved(REMOVED)} N when they are set to zero; those of two "
        f"photographs are {outcome.apart:.3f} N apart.",
        f"{outcome.name}: evening out the others moves it by {moved(REST_EVEN)} N, evening out the "
        f"top {count} by {moved(TOP_EVEN)} N: {verdict} of the image.",
        f"{outcome.name}: the error is {error(ALL, None)} from all classes, {error(KEPT)} from the "
        f"top {count} alone, {error(REMOVED)} without them, {error(REST_EVEN)} with the others "
        f"evened out and {error(TOP_EVEN)} with the top {count} evened out.",
    ]
    if temperatures:
        errors = ", ".join(f"{error(TEMPERED, t)} at {t:g}" for t in temperatures)
        found.append(f"{outcome.name}: by temperature the error is {errors}.")
    return found


def _chart(outcome: Outcome, counts: Sequence[int]) -> Figure:
    lines = {
        name: [
            (count, float(distance.mean()), float(scipy.stats.sem(distance)))
            for count, distance in ((count, outcome.distances[name, count]) for count in counts)
        ]
        for name in (KEPT, REMOVED, REST_EVEN, TOP_EVEN)
    }
    return line_chart(
        lines,
        title=f"How far classes move the reconstruction: {outcome.name}",
        caption="Distance to the reconstruction from all classes, with standard errors over "
        f"images. Those of two photographs are {outcome.apart:.2f} apart.",
        x="number of top classes",
        y="distance to that from all classes (N)",
        log_x=True,
    )


def _pictures(name: str, shown: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        shown,
        title=f"Rebuilt from a part of the classes: {name}",
        caption="Photographs, and what is rebuilt from all class scores, from some of them (the "
        "rest zero, or evened out) and at other temperatures.",
    )
