"""Equivariance of reconstructions to rotation, shift, scaling, mirroring and blur.

Section 5 of the paper. A layer that is invariant to a transformation gives the same reconstruction
as before; one that is equivariant gives the transformed reconstruction.
"""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import tqdm

from tfinvert.analysis import claims
from tfinvert.analysis.equivariance import (
    AVERAGE,
    BLURS,
    ROTATIONS,
    SCALES,
    SHIFTS,
    average_strengths,
    influence_standard_error,
    make_transformations,
    measure_equivariance,
    ratio_of_sums,
)
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    most_common_network,
    reconstruct_by_label,
    shipped_alexnet,
)
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    rotations: Sequence[float] = ROTATIONS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
    max_images: int = 512,
    cache: ResultCache = NO_CACHE,
) -> Measurement:
    """Transforms photographs and measures the equivariance of their reconstructions.

    Reconstructions are compared, and transformed, at each inverter's own output size. Pixels from
    outside the image are its reflection at the border.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      seed: random seed of the direction in which each image is rotated and shifted.
      rotations: degrees.
      shifts: fractions of the image's width.
      scales: factors, above 0.
      blurs: standard deviations, above 0, as fractions of the image's width.
      max_images: maximum number of images, evenly subsampled.
      cache: keeps the measurements of each inverter.

    Raises:
      InputError: there are fewer than two images, a scale or blur is not above 0, or a
        transformation changes no reconstruction, so that none can be equivariant.
    """
    if min(len(images), max_images) < 2 or min([*scales, *blurs], default=1) <= 0:
        raise InputError(
            "invariance takes at least 2 images, and scales and blurs above 0. Received: "
            f"{len(images)} images, max_images={max_images}, scales={scales}, blurs={blurs}"
        )
    images = images[evenly_spaced_indices(len(images), max_images)]
    directions = np.random.default_rng(seed).choice([-1.0, 1.0], len(images))
    changes = make_transformations(rotations, shifts, scales, blurs)
    rows, averages = [], []
    for name, inverter in tqdm.tqdm(inverters.items(), "invariance", leave=False):
        run = functools.partial(measure_equivariance, inverter, images, directions, changes)
        sums = cache(f"invariance/{name}", run)
        for change, total in zip(changes, sums["wanted"].sum(1), strict=True):
            if not total:
                raise InputError(
                    "invariance takes inverters whose reconstructions change when they are "
                    f"transformed. Received: {name}, unchanged when {change.label}"
                )
        scores, influences = ratio_of_sums(sums["shared"], sums["wanted"])
        errors = influence_standard_error(influences)
        facts = inverter_columns(name, inverter)
        names = [change.name for change in changes]
        averages += [facts | row for row in average_strengths(scores, influences, names)]
        rows += [
            {
                **facts,
                "transformation": change.name,
                "strength": float(change.strength) if change.unit else None,
                "unit": change.unit.strip(),
                "equivariance": float(score),
                "equivariance_se": float(error),
                "feature_change": float(moved),
            }
            for change, score, error, moved in zip(
                changes, scores, errors, sums["moved"], strict=True
            )
        ]
    # The photograph of highest contrast under the strongest of each transformation.
    image = images[[images.std((1, 2)).mean(1).argmax()]]
    strongest = {change.name: change for change in changes}.values()
    copies = np.concatenate([image, *[change(image, np.ones(1)) for change in strongest]])
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "averages": make_table(add_labels(averages, inverters)),
            "pictures": {"input": copies} | reconstruct_by_label(inverters, copies),
        },
        {
            "images": len(images),
            "network": most_common_network(inverters),
            "columns": ["unchanged", *[change.label for change in strongest]],
        },
    )


def present(measurement: Measurement) -> Presentation:
    """Presents equivariance scores by layer and by strength, and one transformed photograph."""
    averages, facts = measurement.arrays["averages"], measurement.facts
    return Presentation(
        "Equivariance of reconstructions to image transformations",
        f"{facts['images']} photographs were rotated, shifted, scaled, mirrored and blurred. The "
        "equivariance score is the part of the same change that reconstructions make: 1 if they "
        "follow the transformation exactly, 0 if they stay as they were, above 1 if they change "
        "more, as a reconstruction that is blurred already does under blur. The change of the "
        "feature is in units of the mean distance between two photographs' features.",
        _findings(measurement.table, averages),
        [
            charts.table_dot_chart(
                averages,
                "equivariance",
                "equivariance_se",
                series="transformation",
                title="Equivariance score by layer",
                caption="Averages over the strengths of each transformation, with standard errors "
                "over photographs.",
                x="equivariance score (1: follows exactly, 0: stays)",
            ),
            *_strength_charts(measurement.table),
            image_rows(
                measurement.arrays["pictures"],
                title="One photograph, transformed",
                caption="A photograph under each transformation, and its reconstructions.",
                columns=facts["columns"],
            ),
        ],
    )


def _findings(table: pd.DataFrame, averages: pd.DataFrame) -> list[str]:
    template = "{equivariance:.3f} ± {equivariance_se:.3f}"
    overall = averages[averages["transformation"] == AVERAGE]
    deepest = averages[averages["inverter"] == averages["inverter"].iloc[-1]]
    ranked = deepest[deepest["transformation"] != AVERAGE].sort_values(
        ["equivariance", "equivariance_se"], ascending=False, kind="stable"
    )
    moved = table.groupby("label", sort=False)["feature_change"].mean()
    return [
        "Equivariance score, averaged over transformations (1: reconstructions follow exactly, 0: "
        f"they stay): {format_rows(overall, '{label} ' + template)}.",
        f"Transformations that {deepest['label'].iloc[0]} follows, from most to least: "
        f"{format_rows(ranked, '{transformation} ' + template)}.",
        "Mean change of the feature over all transformations, in distances between two "
        f"photographs: {', '.join(f'{label} {each:.2f}' for label, each in moved.items())}.",
    ]


def _strength_charts(table: pd.DataFrame) -> list[Figure]:
    """A chart for each transformation with several strengths."""
    return [
        charts.table_line_chart(
            own,
            "strength",
            "equivariance",
            "equivariance_se",
            caption="1: reconstructions follow exactly, 0: they stay as they were.",
            title=f"Equivariance score of photographs {change}",
            x=f"{change} by ({own['unit'].iloc[0]})",
            y="equivariance score",
            floor=None,
        )
        for change, own in table.groupby("transformation", sort=False)
        if own["strength"].nunique() > 1
    ]


EXPERIMENT = Experiment(
    order=100,
    default_inverters=shipped_alexnet(),
    measure=measure,
    judge=claims.invariance,
    present=present,
    changes_photographs=True,
    exhibits=(
        Exhibit(
            130,
            "Turned, moved, mirrored",
            "One photograph, transformed",
            "One photograph under several transformations. Low layers follow each of them; high "
            "layers follow less, since where a thing is and how it is oriented matters less to "
            "them.",
            "Low layers follow",
        ),
    ),
)
