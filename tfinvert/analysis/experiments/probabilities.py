"""What the class scores carry: the largest of them, or all the others (section 5 of the paper).

The paper inverts a classification with all but its top five classes set to zero, and with these
alone: "dark knowledge" (Hinton et al. 2015) is what the small probabilities know of the image.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims, class_scores
from tfinvert.analysis.class_scores import REST_EQUALIZED, TOP_EQUALIZED, TOP_ONLY, TOP_REMOVED, Key
from tfinvert.analysis.inverters import CLASS_SCORES, NETWORK, inverter_kind, layer_name
from tfinvert.analysis.result import Result, Row, inverter_columns, mean_and_error, mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows

COUNTS = (1, 5, 20, 100, 500)
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
DISTANCE, DISTANCE_SE = "distance to all", "standard error of the distance"
_SHOWN, _DRAWN = 8, 4


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for what does not invert one score, or probability, for each class.

    That is also an autoencoder, whose encoder has left the classes behind.
    """
    feature, made = inverter.feature, inverter_kind(inverter)
    scores = feature.log_floor > 0 or layer_name(inverter) in CLASS_SCORES
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
    are changed as the probabilities that they stand for; see `class_scores.apply_to_logits`.

    Args:
      counts: how many classes are the top; those that leave no others are left out.
      temperatures: see `class_scores.apply_temperature`.

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
    chosen = evenly_spaced_indices(len(images), _SHOWN)
    rows, findings, figures, tested = [], [], [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "probabilities", leave=False):
        features, fitting = inverter.encode(images), _fitting(counts, inverter)
        # The paper's five where it is among them.
        top = claims.TOP if claims.TOP in fitting else fitting[len(fitting) // 2]
        everything = resize_images(inverter.invert(features), images.shape[1:3])
        own, distances, shown = [], {}, {"original": images[chosen]}
        for variant in class_scores.make_variants(fitting, temperatures):
            if inverter.feature.log_floor > 0:
                changed = variant.change(features)
            else:
                changed = class_scores.apply_to_logits(variant.change, features)
            rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
            error = metrics.per_image_distance(images, rebuilt) / scale
            distance = metrics.per_image_distance(everything, rebuilt) / scale
            distances[variant.name, variant.setting] = distance
            own.append(
                {
                    **inverter_columns(name, inverter),
                    "variant": variant.name,
                    "top": variant.count,
                    "temperature": variant.temperature,
                    **mean_columns(("normalised error", "standard error of the error"), error),
                    **mean_columns((DISTANCE, DISTANCE_SE), distance),
                }
            )
            if variant.count in (None, top) and variant.temperature != 1:
                shown[variant.label] = rebuilt[chosen]
        apart = metrics.mean_pairwise_distance(everything) / scale
        rows += own
        found = _findings(own, distances, apart, top, temperatures)
        findings += [f"{name}: {finding}" for finding in found]
        if len(figures) < 2 * _DRAWN:
            figures += [
                charts.table_line_chart(
                    own,
                    "top",
                    DISTANCE,
                    DISTANCE_SE,
                    series="variant",
                    title=f"How far classes move the reconstruction: {name}",
                    caption="Distance to the reconstruction from all classes, with standard errors "
                    f"over images. Those of two photographs are {apart:.2f} apart.",
                    x="number of top classes",
                    y="distance to that from all classes (N)",
                    ordered=False,
                    log_x=True,
                ),
                image_rows(
                    shown,
                    title=f"Rebuilt from a part of the classes: {name}",
                    caption="Photographs, and what is rebuilt from all class scores, from some of "
                    "them (the rest zero, or evened out) and at other temperatures.",
                ),
            ]
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
        told = "{distance to all:.3f} ± {standard error of the distance:.3f}"
        return told.format_map(own[name, count])

    def error(name: str, setting: float | None = count) -> str:
        return f"{own[name, setting]['normalised error']:.3f}"

    gap, width = mean_and_error(distances[REST_EQUALIZED, count] - distances[TOP_EQUALIZED, count])
    if abs(gap) <= 2 * width:
        verdict = "they tell as much"
    else:
        verdict = f"{'the others' if gap > 0 else f'the top {count}'} tell more"
    found = [
        f"the reconstruction moves by {moved(TOP_ONLY)} N when the top {count} classes alone are left, "
        f"and by {moved(TOP_REMOVED)} N when they are set to zero; those of two photographs are "
        f"{apart:.3f} N apart.",
        f"evening out the others moves it by {moved(REST_EQUALIZED)} N, evening out the top {count} by "
        f"{moved(TOP_EQUALIZED)} N: {verdict} of the image.",
        f"the error is {error(class_scores.ALL, None)} from all classes, {error(TOP_ONLY)} from the "
        f"top {count} alone, {error(TOP_REMOVED)} without them, {error(REST_EQUALIZED)} with the others "
        f"evened out and {error(TOP_EQUALIZED)} with the top {count} evened out.",
    ]
    if temperatures:
        tempered = class_scores.TEMPERED
        errors = ", ".join(f"{error(tempered, t)} at {t:g}" for t in temperatures)
        found.append(f"by temperature the error is {errors}.")
    return found
