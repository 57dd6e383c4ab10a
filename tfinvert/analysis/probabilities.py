"""What the class scores carry: the largest of them, or all the others (section 5 of the paper).

The paper inverts a classification with all but its top five classes set to zero, and with these
alone: "dark knowledge" (Hinton et al. 2015) is what the small probabilities know of the image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.claims import TOP
from tfinvert.analysis.class_scores import (
    ALL,
    KEPT,
    REMOVED,
    REST_EVEN,
    TEMPERED,
    TOP_EVEN,
    Change,
    Key,
    Variant,
    on_logits,
    variants,
)
from tfinvert.analysis.inverters import CLASS_SCORES, NETWORK, kind, layer_of
from tfinvert.analysis.result import Result
from tfinvert.analysis.tables import Row, facts, listed, mean_error
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

COUNTS = (1, 5, 20, 100, 500)
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
_SHOWN, _DRAWN = 8, 4


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
    nothing = metrics.normalized_error(images, mean, scale)
    chosen = evenly(len(images), _SHOWN)
    rows, findings, figures, tested = [], [], [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "probabilities", leave=False):
        features, fitting = inverter.encode(images), _fitting(counts, inverter)
        everything = resize_images(inverter.invert(features), images.shape[1:3])
        own, distances, shown = [], {}, {"original": images[chosen]}
        for variant in variants(fitting, temperatures):
            changed = _changed(inverter, features, variant.change)
            rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
            error = metrics.per_image_distance(images, rebuilt) / scale
            distance = metrics.per_image_distance(everything, rebuilt) / scale
            distances[variant.name, variant.setting] = distance
            own.append(facts(name, inverter) | _row(variant, error, distance))
            if variant.count in (None, _focus(fitting)) and variant.temperature != 1:
                shown[variant.label] = rebuilt[chosen]
        apart = metrics.mean_pairwise_distance(everything) / scale
        rows += own
        findings += [
            f"{name}: {finding}"
            for finding in _findings(own, distances, apart, _focus(fitting), temperatures)
        ]
        if len(figures) < 2 * _DRAWN:
            figures += [_chart(name, own, apart), _pictures(name, shown)]
        if inverter.feature.log_floor > 0:
            tested[name] = distances
    return Result(
        "What the largest class scores carry, and what all the others",
        f"{len(images)} photographs, compared at {images.shape[1]}×{images.shape[2]} pixels, in "
        f"units of N; the mean of these photographs has the error {nothing:.3f}. Classes that "
        "are taken away are set to zero or, since no network saw zeros in training, evened out: "
        "each gets the mean of their probabilities. Standard errors are over images.",
        findings,
        rows,
        figures,
        claims.probabilities(tested),
    )


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
    return TOP if TOP in counts else counts[len(counts) // 2]


def _changed(inverter: Inverter, features: np.ndarray, change: Change) -> np.ndarray:
    return change(features) if inverter.feature.log_floor > 0 else on_logits(change, features)


def _row(variant: Variant, error: np.ndarray, distance: np.ndarray) -> dict[str, Any]:
    (mean, width), (moved, moved_width) = mean_error(error), mean_error(distance)
    return {
        "variant": variant.name,
        "top": variant.count,
        "temperature": variant.temperature,
        "normalised error": mean,
        "standard error of the error": width,
        "distance to all": moved,
        "standard error of the distance": moved_width,
    }


def _findings(
    rows: Sequence[Row],
    distances: Mapping[Key, np.ndarray],
    apart: float,
    count: int,
    temperatures: Sequence[float],
) -> list[str]:
    """Of one inverter; reconstructions of two photographs are `apart`."""
    own = {(row["variant"], row["top"] or row["temperature"]): row for row in rows}

    def moved(name: str) -> str:
        return listed(
            [own[name, count]], "{distance to all:.3f} ± {standard error of the distance:.3f}"
        )

    def error(name: str, setting: float | None = count) -> str:
        return f"{own[name, setting]['normalised error']:.3f}"

    gap, width = mean_error(distances[REST_EVEN, count] - distances[TOP_EVEN, count])
    if abs(gap) <= 2 * width:
        verdict = "they tell as much"
    else:
        verdict = f"{'the others' if gap > 0 else f'the top {count}'} tell more"
    found = [
        f"the reconstruction moves by {moved(KEPT)} N when the top {count} classes alone are left, "
        f"and by {moved(REMOVED)} N when they are set to zero; those of two photographs are "
        f"{apart:.3f} N apart.",
        f"evening out the others moves it by {moved(REST_EVEN)} N, evening out the top {count} by "
        f"{moved(TOP_EVEN)} N: {verdict} of the image.",
        f"the error is {error(ALL, None)} from all classes, {error(KEPT)} from the top {count} "
        f"alone, {error(REMOVED)} without them, {error(REST_EVEN)} with the others evened out and "
        f"{error(TOP_EVEN)} with the top {count} evened out.",
    ]
    if temperatures:
        errors = ", ".join(f"{error(TEMPERED, t)} at {t:g}" for t in temperatures)
        found.append(f"by temperature the error is {errors}.")
    return found


def _chart(name: str, rows: Sequence[Row], apart: float) -> Figure:
    return charts.lines(
        pd.DataFrame(rows),
        "top",
        "distance to all",
        "standard error of the distance",
        caption="Distance to the reconstruction from all classes, with standard errors over "
        f"images. Those of two photographs are {apart:.2f} apart.",
        series="variant",
        words={
            "title": f"How far classes move the reconstruction: {name}",
            "x": "number of top classes",
            "y": "distance to that from all classes (N)",
        },
        ordered=False,
        log_x=True,
    )


def _pictures(name: str, shown: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        shown,
        title=f"Rebuilt from a part of the classes: {name}",
        caption="Photographs, and what is rebuilt from all class scores, from some of them (the "
        "rest zero, or evened out) and at other temperatures.",
    )
