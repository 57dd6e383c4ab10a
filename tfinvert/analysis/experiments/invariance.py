"""How far a reconstruction follows when the photograph is transformed (section 5 of the paper).

A layer that has become invariant to a transformation gives back the same image as before; one that
has not gives back the transformed image.
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
from tfinvert.analysis.inverters import most_common_network, reconstruct_by_label
from tfinvert.analysis.result import Result, Row, add_labels, format_rows, inverter_columns
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

COEFFICIENT, COEFFICIENT_SE = "coefficient", "standard error"
FEATURE = "change of the feature"


def invariance(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    turns: Sequence[float] = ROTATIONS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
    most: int = 512,
    parts: ResultCache = NO_CACHE,
) -> Result:
    """Transforms photographs and measures how far their reconstructions follow.

    Reconstructions are compared, and transformed, at each inverter's own output size. What a
    transformation brings in from outside is the image reflected at its border.

    Args:
      seed: of the way, left or right, in which each image is turned and shifted.
      turns: degrees.
      shifts: fractions of the image's width.
      scales: factors.
      blurs: standard deviations, as fractions of the image's width.
      most: at most so many of the images, evenly spaced.

    Raises:
      InputError: there are fewer than two images, a scale or blur is not above 0, or a
        transformation changes no reconstruction, so that none can follow.
    """
    if min(len(images), most) < 2 or min([*scales, *blurs], default=1) <= 0:
        raise InputError(
            "invariance takes at least 2 images, and scales and blurs above 0. Received: "
            f"{len(images)} images, most={most}, scales={scales}, blurs={blurs}"
        )
    images = images[evenly_spaced_indices(len(images), most)]
    ways = np.random.default_rng(seed).choice([-1.0, 1.0], len(images))
    changes = make_transformations(turns, shifts, scales, blurs)
    rows, follows = [], []
    for name, inverter in tqdm.tqdm(inverters.items(), "invariance", leave=False):
        kept = parts(
            f"invariance/{name}",
            functools.partial(measure_equivariance, inverter, images, ways, changes),
        )
        shared, wanted, moved = kept["shared"], kept["wanted"], kept["moved"]
        for change, total in zip(changes, wanted.sum(1), strict=True):
            if not total:
                raise InputError(f"{name}: no reconstruction is changed by being {change.label}")
        value, influence = ratio_of_sums(shared, wanted)
        unlike = [change.name for change in changes]
        follows += [
            inverter_columns(name, inverter) | each
            for each in average_strengths(value, influence, unlike)
        ]
        for i, change in enumerate(changes):
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "transformation": change.name,
                    "strength": float(change.strength) if change.unit else None,
                    "unit": change.unit.strip(),
                    COEFFICIENT: float(value[i]),
                    COEFFICIENT_SE: float(influence_standard_error(influence[i])),
                    FEATURE: float(moved[i]),
                }
            )
    table, follows = add_labels(rows, inverters), add_labels(follows, inverters)
    network = most_common_network(inverters)
    # The photograph of highest contrast under the strongest of each transformation.
    image = images[[images.std((1, 2)).mean(1).argmax()]]
    strongest = {change.name: change for change in changes}.values()
    copies = np.concatenate([image, *[change(image, np.ones(1)) for change in strongest]])
    return Result(
        "How far does a reconstruction follow the photograph?",
        f"{len(images)} photographs were turned, shifted, scaled, mirrored and blurred. The "
        "coefficient is the part of the same change that their reconstructions make: 1 if they "
        "follow exactly, 0 if they stay, above 1 if they change more than that, as blurring does "
        "to one that is blurred already. The change of the feature is in units of the mean "
        "distance between two photographs' features.",
        _findings(table, follows),
        rows,
        [
            charts.table_dot_chart(
                follows,
                "mean",
                "±",
                series="of",
                title="How far reconstructions follow, by layer",
                caption="Coefficients, averaged over the strengths of each transformation, with "
                "standard errors over photographs.",
                x="coefficient (1: follows exactly, 0: stays)",
            ),
            *_strength_charts(pd.DataFrame(table)),
            image_rows(
                {"input": copies} | reconstruct_by_label(inverters, copies),
                title="One photograph, transformed",
                caption="A photograph under each transformation, and what is rebuilt of it.",
                columns=["unchanged", *[change.label for change in strongest]],
            ),
        ],
        claims.invariance(
            [row for row in follows if row["of"] == AVERAGE and row["inverter"] in network]
        ),
    )


def _findings(rows: Sequence[Row], follows: Sequence[Row]) -> list[str]:
    average = [row for row in follows if row["of"] == AVERAGE]
    last = [row for row in follows if row["inverter"] == rows[-1]["inverter"]]
    ranked = sorted(
        (row for row in last if row["of"] != AVERAGE),
        key=lambda row: (row["mean"], row["±"]),
        reverse=True,
    )
    moved = pd.DataFrame(rows).groupby("label", sort=False)[FEATURE].mean()
    return [
        "Averaged over transformations, reconstructions follow by "
        f"{format_rows(average, '{label} {mean:.3f} ± {±:.3f}')} (1: exactly, 0: they stay).",
        f"{last[0]['label']} follows, from most to least: "
        f"{format_rows(ranked, '{of} {mean:.3f} ± {±:.3f}')}.",
        "On average over all strengths the feature changes, in distances between two photographs, "
        f"by {', '.join(f'{label} {each:.2f}' for label, each in moved.items())}.",
    ]


def _strength_charts(table: pd.DataFrame) -> list[Figure]:
    """One for each transformation that has several strengths."""
    return [
        charts.table_line_chart(
            own,
            "strength",
            COEFFICIENT,
            COEFFICIENT_SE,
            caption="1: exactly, 0: they stay.",
            title=f"How far reconstructions follow when photographs are {change}",
            x=f"{change} by ({own['unit'].iloc[0]})",
            y="coefficient",
            floor=None,
        )
        for change, own in table.groupby("transformation", sort=False)
        if own["strength"].nunique() > 1
    ]
