"""Information in the top class scores and in all others; effect of the temperature.

Section 5 of the paper inverts class probabilities with all but the top five set to zero, and with
the top five set to zero: "dark knowledge" (Hinton et al. 2015) is what the small probabilities
represent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims, class_scores
from tfinvert.analysis.class_scores import (
    REST_EQUALIZED,
    TOP_EQUALIZED,
    TOP_ONLY,
    TOP_REMOVED,
    Key,
)
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    CLASS_SCORES,
    NETWORK,
    inverter_columns,
    inverter_kind,
    layer_name,
    shipped_alexnet,
)
from tfinvert.analysis.scores import mean_and_error, mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

COUNTS = (1, 5, 20, 100, 500)
TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
_PICTURES, _PICTURED_INVERTERS = 8, 4


def check(name: str, inverter: Inverter) -> None:
    """Checks that the inverter is an inversion network of one score or probability per class.

    An autoencoder is not, since its encoder no longer computes class scores.

    Raises:
      InputError: it is not.
    """
    feature, kind = inverter.feature, inverter_kind(inverter)
    has_scores = feature.log_floor > 0 or layer_name(inverter) in CLASS_SCORES
    if not has_scores or len(feature.spec.shape) != 1 or kind != NETWORK:
        raise InputError(
            "probabilities takes inversion networks of class probabilities or of a layer named "
            f"{' or '.join(CLASS_SCORES)}. Received: {name}, {kind} of {feature.name}"
        )


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    counts: Sequence[int] = COUNTS,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Measurement:
    """Inverts class scores from which the top classes, or all others, are removed.

    Reconstructions are resized to the size of the images and compared there; N, the mean distance
    between two images, is that of these images. Logits are changed as the probabilities that they
    stand for; see `class_scores.apply_to_logits`.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1].
      counts: numbers of top classes; those of at least an inverter's number of classes are ignored.
      temperatures: see `class_scores.apply_temperature`.

    Raises:
      InputError: a setting is not positive, no count is smaller than an inverter's number of
        classes, or the images are all equal.
    """
    for inverter in inverters.values():
        _usable_counts(counts, inverter)
    if any(value <= 0 for value in (*counts, *temperatures)):
        raise InputError(
            "counts and temperatures must be positive. Received: "
            f"counts={tuple(counts)}, temperatures={tuple(temperatures)}"
        )
    scale = metrics.mean_pairwise_distance(images)
    mean = np.broadcast_to(images.mean(0), images.shape)
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, distances, pictures, spacing, tops = [], {}, {}, {}, {}
    for name, inverter in tqdm.tqdm(inverters.items(), "probabilities", leave=False):
        features, usable = inverter.encode(images), _usable_counts(counts, inverter)
        # The paper's five where possible.
        tops[name] = claims.TOP if claims.TOP in usable else usable[len(usable) // 2]
        from_all = resize_images(inverter.invert(features), images.shape[1:3])
        spacing[name] = metrics.mean_pairwise_distance(from_all) / scale
        distances[name], pictures[name] = {}, {"original": images[chosen]}
        for variant in class_scores.make_variants(usable, temperatures):
            if inverter.feature.log_floor > 0:
                changed = variant.change(features)
            else:
                changed = class_scores.apply_to_logits(variant.change, features)
            rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
            error = metrics.per_image_distance(images, rebuilt) / scale
            distance = metrics.per_image_distance(from_all, rebuilt) / scale
            distances[name][variant.name, variant.setting] = distance
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "variant": variant.name,
                    "top": variant.count,
                    "temperature": variant.temperature,
                    **mean_columns("normalized_error", error),
                    **mean_columns("distance_to_all", distance),
                }
            )
            if variant.count in (None, tops[name]) and variant.temperature != 1:
                pictures[name][variant.label] = rebuilt[chosen]
    return Measurement(
        make_table(rows),
        {"distances": distances, "pictures": pictures},
        {
            "images": len(images),
            "size": images.shape[1:3],
            "mean_image_error": metrics.normalized_error(images, mean, scale),
            "spacing": spacing,
            "tops": tops,
            "temperatures": temperatures,
            "probability_inverters": [
                name for name, inverter in inverters.items() if inverter.feature.log_floor > 0
            ],
        },
    )


def _usable_counts(counts: Sequence[int], inverter: Inverter) -> list[int]:
    """The counts below the number of classes, in ascending order."""
    classes = inverter.feature.spec.shape[0]
    usable = sorted({count for count in counts if count < classes})
    if not usable:
        raise InputError(
            f"one of the counts must be below the {classes} classes of {inverter.feature.name}. "
            f"Received: {tuple(counts)}"
        )
    return usable


def present(measurement: Measurement) -> Presentation:
    """Presents distances by number of top classes, and reconstructions, of each inverter."""
    facts, (height, width) = measurement.facts, measurement.facts["size"]
    findings, figures = [], []
    for name, own in measurement.table.groupby("inverter", sort=False):
        distances, spacing = measurement.arrays["distances"][name], facts["spacing"][name]
        found = _findings(own, distances, spacing, facts["tops"][name], facts["temperatures"])
        findings += [f"{name}: {finding}" for finding in found]
        if len(figures) < 2 * _PICTURED_INVERTERS:
            figures += _figures(str(name), own, measurement.arrays["pictures"][name], spacing)
    return Presentation(
        "Information in the largest class scores and in all the others",
        f"{facts['images']} photographs, compared at {height}×{width} pixels, in units of N; the "
        f"mean of these photographs has the error {facts['mean_image_error']:.3f}. Classes that "
        "are removed are set to zero or, since no network was trained on zeros, evened out: each "
        "gets the mean of their probabilities. Standard errors are over images.",
        findings,
        figures,
    )


def _findings(
    table: pd.DataFrame,
    distances: Mapping[Key, np.ndarray],
    spacing: float,
    count: int,
    temperatures: Sequence[float],
) -> list[str]:
    """Findings of one inverter; `spacing` is the mean distance between two reconstructions."""
    rows: dict[Key, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        setting = next((row[x] for x in ("top", "temperature") if pd.notna(row[x])), None)
        rows[row["variant"], setting] = row

    def distance(name: str) -> str:
        return "{distance_to_all:.3f} ± {distance_to_all_se:.3f}".format_map(rows[name, count])

    def error(name: str, setting: float | None = count) -> str:
        return f"{rows[name, setting]['normalized_error']:.3f}"

    gap, width = mean_and_error(distances[REST_EQUALIZED, count] - distances[TOP_EQUALIZED, count])
    if abs(gap) <= 2 * width:
        verdict = "both carry as much information"
    else:
        verdict = f"{'the others' if gap > 0 else f'the top {count}'} carry more information"
    found = [
        f"the reconstruction moves by {distance(TOP_ONLY)} N when only the top {count} classes are "
        f"left, and by {distance(TOP_REMOVED)} N when they are set to zero; reconstructions of two "
        f"photographs are {spacing:.3f} N apart.",
        f"evening out the others moves it by {distance(REST_EQUALIZED)} N, evening out the top "
        f"{count} by {distance(TOP_EQUALIZED)} N: {verdict} about the image.",
        f"the error is {error(class_scores.ALL, None)} from all classes, {error(TOP_ONLY)} from "
        f"the top {count} alone, {error(TOP_REMOVED)} without them, {error(REST_EQUALIZED)} with "
        f"the others evened out and {error(TOP_EQUALIZED)} with the top {count} evened out.",
    ]
    if temperatures:
        errors = ", ".join(f"{error(class_scores.TEMPERED, t)} at {t:g}" for t in temperatures)
        found.append(f"by temperature the error is {errors}.")
    return found


def _figures(
    name: str, table: pd.DataFrame, pictures: Mapping[str, np.ndarray], spacing: float
) -> list[Figure]:
    return [
        charts.table_line_chart(
            table,
            "top",
            "distance_to_all",
            "distance_to_all_se",
            series="variant",
            title=f"Change of the reconstruction by number of top classes: {name}",
            caption="Distance to the reconstruction from all classes, with standard errors over "
            f"images. Reconstructions of two photographs are {spacing:.2f} apart.",
            x="number of top classes",
            y="distance to the reconstruction from all classes (N)",
            ordered=False,
            log_x=True,
        ),
        image_rows(
            pictures,
            title=f"Rebuilt from a part of the classes: {name}",
            caption="Photographs, and reconstructions from all class scores, from some of them "
            "(the others zero, or evened out) and at other temperatures.",
        ),
    ]


EXPERIMENT = Experiment(
    order=40,
    default_inverters=shipped_alexnet("fc8", "probabilities"),
    measure=measure,
    judge=claims.probabilities,
    present=present,
    check=check,
    exhibits=(
        Exhibit(
            70,
            "Information in improbable classes",
            "Rebuilt from a part of the classes",
            "The probabilities of all classes, with some of them removed or made equal. If only "
            "the most probable classes mattered, the small probabilities of all others could be "
            "made equal without any loss; compare the rows where either part is evened out.",
            "Dark knowledge, with no class",
            slice(-1, None),
        ),
    ),
)
