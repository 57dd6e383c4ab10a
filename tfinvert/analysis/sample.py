"""Images of random features: the paper's independent draws, and joint models (section 5).

An inverter maps any feature to an image. Where units are drawn each by itself, what comes out shows
how much of a feature lies in which units are active together.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tqdm

from tfinvert.analysis import claims, samplers
from tfinvert.analysis.contrast import scale_contrast
from tfinvert.analysis.draws import Drawn, drawn_from
from tfinvert.analysis.inverters import labels
from tfinvert.analysis.result import Result
from tfinvert.analysis.samplers import INDEPENDENT, REAL, Sampler
from tfinvert.analysis.tables import facts, measured, standard_error
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_FEWEST, _LARGEST = 12, 10_000
_GAIN = 2.0


def check(name: str, inverter: Inverter) -> None:
    """Whether drawing an inverter's features value by value makes sense.

    Raises:
      InputError: it is of SIFT or of class probabilities, or of too large a grid.
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
        INDEPENDENT: samplers.IndependentHistograms,
        samplers.TRUNCATED: samplers.TruncatedGaussian,
        samplers.COPULA: functools.partial(
            samplers.GaussianCopula, components=components, seed=seed
        ),
        samplers.MIXTURE: functools.partial(
            samplers.Mixture, components=components, clusters=clusters, seed=seed
        ),
    }
    outcomes, dimensions = {}, []
    for name, inverter in tqdm.tqdm(inverters.items(), "sample", leave=False):
        outcomes[name], compared = drawn_from(inverter, learned, held, models, seed, repeats)
        dimensions.append(compared)
    called = labels(inverters)
    return Result(
        "Images of random features",
        _lead(len(learned), len(held), dimensions, repeats),
        _findings(called, outcomes),
        [
            facts(name, inverters[name]) | _row(source, own)
            for name, drawn in outcomes.items()
            for source, own in drawn.items()
        ],
        [*_charts(called, outcomes), *(_figure(called[name], outcomes[name]) for name in called)],
        claims.sample({called[name]: _distances(own) for name, own in outcomes.items()}),
    )


def _distances(drawn: Mapping[str, Drawn]) -> dict[str, np.ndarray]:
    return {source: own.feature_distance for source, own in drawn.items()}


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


def _findings(called: Mapping[str, str], outcomes: Mapping[str, Mapping[str, Drawn]]) -> list[str]:
    found = []
    for name, drawn in outcomes.items():
        real, alone = drawn[REAL], drawn[INDEPENDENT]
        best = samplers.nearest_joint(_distances(drawn))
        joint = drawn[best]
        floor = real.feature_distance.mean()
        far, near = alone.feature_distance.mean(), joint.feature_distance.mean()
        found.append(
            f"{called[name]}: independent draws are {far / floor:.1f} times as far from real "
            f"features as other real features are, those of the {best} {near / floor:.1f} times: "
            f"nearer by a factor of {far / near:.1f}; decoded and encoded again, by a factor of "
            f"{alone.image_distance.mean() / joint.image_distance.mean():.1f}. Their images have "
            f"{alone.contrast / real.contrast:.0%} and {joint.contrast / real.contrast:.0%} of the "
            "contrast of those of real features."
        )
    return found


def _row(source: str, own: Drawn) -> dict[str, Any]:
    def error(values: np.ndarray) -> float | None:
        return standard_error(values) if len(values) > 1 else None

    return {
        "features": source,
        "Fréchet distance": float(own.feature_distance.mean()),
        "standard error": error(own.feature_distance),
        "Fréchet distance of the images": float(own.image_distance.mean()),
        "standard error of the images": error(own.image_distance),
        "active units": own.active,
        "contrast of the images": float(own.contrast),
    }


def _charts(called: Mapping[str, str], outcomes: Mapping[str, Mapping[str, Drawn]]) -> list[Figure]:
    measures = {
        "Features drawn": ("feature_distance", "Distances of the draws from real features"),
        "Images of them": ("image_distance", "Distances of their images, encoded again"),
    }
    return [
        charts.dots(
            [
                {"label": called[name], "features": source}
                | measured(("distance", "±"), getattr(own, of) / getattr(drawn[REAL], of).mean())
                for name, drawn in outcomes.items()
                for source, own in drawn.items()
            ],
            "distance",
            "±",
            thing="features",
            series="label",
            title=f"{title}: how far from real ones",
            caption=f"{caption}, in units of the distance between two halves of real ones; "
            "bars are standard errors over draws.",
            x="Fréchet distance / that of real features",
            ordered=True,
        )
        for title, (of, caption) in measures.items()
    ]


def _figure(label: str, drawn: Mapping[str, Drawn]) -> Figure:
    return image_rows(
        {source: scale_contrast(own.shown, _GAIN) for source, own in drawn.items()},
        title=f"Images of random features: {label}",
        caption=f"What {label} of other photographs and draws from models of it are inverted to; "
        f"contrast times {_GAIN:g} about each image's mean colour.",
    )
