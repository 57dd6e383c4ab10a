"""Images of random features: the paper's independent draws, and joint models (section 5).

An inverter maps any feature to an image. Where units are drawn each by itself, what comes out shows
how much of a feature lies in which units are active together.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import tqdm

from tfinvert.analysis import claims, feature_samplers
from tfinvert.analysis.contrast import scale_contrast
from tfinvert.analysis.feature_samplers import (
    CONTRAST,
    INDEPENDENT,
    OF_FEATURES,
    OF_IMAGES,
    REAL,
    SOURCE,
    Sampler,
    evaluate_samplers,
    relative_to_real,
)
from tfinvert.analysis.inverters import inverter_labels
from tfinvert.analysis.result import Result, add_labels, inverter_columns
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_FEWEST, _LARGEST = 12, 10_000
_GAIN = 2.0


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for SIFT, class probabilities and too large grids.

    Drawing these value by value makes no sense.
    """
    feature = inverter.feature
    accepted = f"sample takes vectors and grids of up to {_LARGEST:,} values an image"
    size = math.prod(feature.spec.shape)
    if isinstance(feature, Sift):
        raise InputError(
            f"{accepted}, but not sift, whose cells hold a keypoint's values together or none. "
            f"Received: {name}, of {feature.name}"
        )
    if feature.log_floor:
        raise InputError(
            f"{accepted}, but not probabilities, which add up to 1 and cannot be drawn one by one. "
            f"Received: {name}, of {feature.name}"
        )
    if size > _LARGEST:
        raise InputError(f"{accepted}. Received: {name}, of {feature.name} with {size:,}")


def sample(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    components: int = 64,
    clusters: int = 8,
    repeats: int = 3,
) -> Result:
    """Draws features from models of one half of the images and compares with the other half.

    Args:
      components: principal components of the joint models.
      clusters: Gaussians of the mixture.
      repeats: how often each model is drawn from, at least two, for the standard errors.

    Raises:
      InputError: an inverter does not fit (`check`), or there are too few images.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    if len(images) < _FEWEST:
        raise InputError(
            f"too few images for a histogram of each value: sample takes at least {_FEWEST}. "
            f"Received: {len(images)}"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    learned, held = images[order[::2]], images[order[1::2]]
    models: dict[str, Callable[[np.ndarray], Sampler]] = {
        INDEPENDENT: feature_samplers.IndependentHistograms,
        feature_samplers.TRUNCATED: feature_samplers.TruncatedGaussian,
        feature_samplers.COPULA: functools.partial(
            feature_samplers.GaussianCopula, components=components, seed=seed
        ),
        feature_samplers.MIXTURE: functools.partial(
            feature_samplers.GaussianMixtureCopula,
            components=components,
            clusters=clusters,
            seed=seed,
        ),
    }
    rows, shown, dimensions = [], {}, []
    for name, inverter in tqdm.tqdm(inverters.items(), "sample", leave=False):
        drawn = evaluate_samplers(inverter, learned, held, models, seed, repeats)
        rows += [inverter_columns(name, inverter) | row for row in drawn[0]]
        shown[name] = drawn[1]
        dimensions.append(drawn[2])
    table, called = relative_to_real(add_labels(rows, inverters)), inverter_labels(inverters)
    return Result(
        "Images of random features",
        _lead(len(learned), len(held), dimensions, repeats),
        [_finding(label, own) for label, own in table.groupby("label", sort=False)],
        rows,
        [
            *_charts(table),
            *(
                image_rows(
                    {source: scale_contrast(images, _GAIN) for source, images in own.items()},
                    title=f"Images of random features: {called[name]}",
                    caption=f"What {called[name]} of other photographs and draws from models of it "
                    f"are inverted to; contrast times {_GAIN:g} about each image's mean colour.",
                )
                for name, own in shown.items()
            ),
        ],
        claims.sample(table),
    )


def _lead(learned: int, held: int, dimensions: list[int], repeats: int) -> str:
    fewest, most = min(dimensions), max(dimensions)
    span = f"{most}" if fewest == most else f"{fewest} to {most}"
    return (
        f"Models of the features of {learned} photographs are drawn from, and the draws are "
        f"inverted. Fréchet distances are to the features of {held} other photographs, along the "
        f"{span} leading principal components of these; of the images, between their own features, "
        "encoded again. So few samples bias every such distance upwards: all models draw "
        f"{learned} samples, {repeats} times, and the first half's real features, which are as "
        "many, say what is the least that can be expected. Signed layers have plain Gaussians in "
        "place of truncated ones."
    )


def _finding(label: str, table: pd.DataFrame) -> str:
    table = table.set_index(SOURCE)
    best = feature_samplers.best_joint_sampler(table[OF_FEATURES[0]])
    alone, joint = table.loc[INDEPENDENT], table.loc[best]
    contrasts = table[CONTRAST] / table[CONTRAST][REAL]
    far, near = alone[OF_FEATURES[0]], joint[OF_FEATURES[0]]
    return (
        f"{label}: independent draws are {far:.1f} times as far from real features as other real "
        f"features are, those of the {best} {near:.1f} times: nearer by a factor of "
        f"{far / near:.1f}; decoded and encoded again, by a factor of "
        f"{alone[OF_IMAGES[0]] / joint[OF_IMAGES[0]]:.1f}. Their images have "
        f"{contrasts[INDEPENDENT]:.0%} and {contrasts[best]:.0%} of the contrast of those of real "
        "features."
    )


def _charts(table: pd.DataFrame) -> list[Figure]:
    measures = {
        "Features drawn": (OF_FEATURES, "Distances of the draws from real features"),
        "Images of them": (OF_IMAGES, "Distances of their images, encoded again"),
    }
    return [
        charts.table_dot_chart(
            table,
            *columns,
            item=SOURCE,
            series="label",
            title=f"{title}: how far from real ones",
            caption=f"{caption}, in units of the distance between two halves of real ones; "
            "bars are standard errors over draws.",
            x="Fréchet distance / that of real features",
            ordered=True,
        )
        for title, (columns, caption) in measures.items()
    ]
