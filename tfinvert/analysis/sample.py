"""Images of random features: the paper's independent draws, and joint models (section 5).

An inverter maps any feature to an image. Where units are drawn each by itself, what comes out shows
how much of a feature lies in which units are active together.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import tqdm
from sklearn.decomposition import PCA

from tfinvert.analysis.contrast import scale_contrast
from tfinvert.analysis.inverters import kind, labels, layer_of
from tfinvert.analysis.result import Claim, Result
from tfinvert.analysis.samplers import (
    GaussianCopula,
    IndependentHistograms,
    Mixture,
    Sampler,
    TruncatedGaussian,
)
from tfinvert.analysis.scores import image_contrast
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.frechet import frechet_distance
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import MAX_ORDERED, dot_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

REAL = "real features"
INDEPENDENT, TRUNCATED = "independent histograms", "truncated Gaussians"
COPULA, MIXTURE = "Gaussian copula", "mixture of Gaussians"
JOINT = (COPULA, MIXTURE)
_FEWEST, _LARGEST = 12, 10_000
_COMPARED = 128
_GAIN = 2.0
_SHOWN = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """What a source of features gives, over several draws.

    Attributes:
      feature_distance: Fréchet distance to the held-out features, one for each draw.
      image_distance: the same of what is decoded and encoded again.
      active: part of the features that is not zero.
      contrast: of the decoded images, standard deviation over an image's pixels in [0, 1].
      shown: some decoded images of the first draw, `[k, H, W, 3]`.
    """

    feature_distance: np.ndarray
    image_distance: np.ndarray
    active: float
    contrast: float
    shown: np.ndarray


class Space:
    """Distance to held-out features along their leading principal components.

    A Fréchet distance in as many dimensions as there are samples would be mostly chance, so at most
    a quarter as many are compared.

    Args:
      features: `[n, ...]`, the held-out ones.
    """

    def __init__(self, features: np.ndarray):
        flat = features.reshape(len(features), -1)
        most = max(1, min(len(flat) // 4, _COMPARED, flat.shape[1]))
        self._pca = PCA(most, random_state=0).fit(flat)
        self._features = self._pca.transform(flat)

    @property
    def dimensions(self) -> int:
        """How many components are compared."""
        return self._features.shape[1]

    def distance(self, features: np.ndarray) -> float:
        """Fréchet distance of `[m, ...]` to the held-out features, in their units squared."""
        flat = features.reshape(len(features), -1)
        return frechet_distance(self._pca.transform(flat), self._features)


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
      inverters: by name, of vectors or not too large grids.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take; at least 12.
      seed: of the halves, the models and the draws.
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
        INDEPENDENT: IndependentHistograms,
        TRUNCATED: TruncatedGaussian,
        COPULA: lambda features: GaussianCopula(features, components=components, seed=seed),
        MIXTURE: lambda features: Mixture(
            features, components=components, clusters=clusters, seed=seed
        ),
    }
    outcomes, dimensions = {}, []
    for name, inverter in tqdm.tqdm(inverters.items(), "sample", leave=False):
        outcomes[name], compared = _draw(inverter, learned, held, models, seed, repeats)
        dimensions.append(compared)
    called = labels(inverters)
    return Result(
        "Images of random features",
        _lead(len(learned), len(held), dimensions, repeats),
        _findings(called, outcomes),
        _rows(inverters, outcomes),
        [*_charts(called, outcomes), *(_figure(called[name], outcomes[name]) for name in called)],
        [claim({called[name]: own for name, own in outcomes.items()})],
    )


def _draw(
    inverter: Inverter,
    learned: np.ndarray,
    held: np.ndarray,
    models: Mapping[str, Callable[[np.ndarray], Sampler]],
    seed: int,
    repeats: int,
) -> tuple[dict[str, Drawn], int]:
    """By source of features, the real ones first; and in how many dimensions they are compared."""
    size = inverter.feature.image_shape[:2]

    def decoded(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images, and their own features."""
        rebuilt = inverter.invert(features)
        return rebuilt, inverter.encode(resize_images(rebuilt, size))

    def measured(draws: list[np.ndarray]) -> Drawn:
        distances, again, contrasts, shown = [], [], [], None
        for features in draws:
            rebuilt, encoded = decoded(features)
            distances.append(space.distance(features))
            again.append(image_space.distance(encoded))
            contrasts.append(image_contrast(rebuilt).mean())
            if shown is None:
                shown = rebuilt[evenly(len(rebuilt), _SHOWN)]
        active = np.mean([(features != 0).mean() for features in draws])
        return Drawn(np.array(distances), np.array(again), float(active), np.mean(contrasts), shown)

    features, other = inverter.encode(learned), inverter.encode(held)
    space, image_space = Space(other), Space(decoded(other)[1])
    outcome = {REAL: measured([features])}
    for i, (name, fit) in enumerate(models.items()):
        model, rng = fit(features), np.random.default_rng([seed, i])
        outcome[name] = measured([model.draw(len(features), rng) for _ in range(repeats)])
    return outcome, space.dimensions


def standard_error(values: np.ndarray) -> float:
    """Of the mean of `[n]` independent draws; 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def claim(outcomes: Mapping[str, Mapping[str, Drawn]]) -> Claim:
    """Whether the better joint model beats independent draws at every layer.

    Args:
      outcomes: by what each inverter is called, and by source of features.
    """
    texts, holds = [], True
    for label, drawn in outcomes.items():
        floor = drawn[REAL].feature_distance.mean()
        alone = drawn[INDEPENDENT].feature_distance / floor
        joint = _better(drawn)[1].feature_distance / floor
        error = np.hypot(standard_error(alone), standard_error(joint))
        holds &= bool(alone.mean() - joint.mean() > 2 * error)
        texts.append(
            f"{label} {joint.mean():.2f} ± {standard_error(joint):.2f} against "
            f"{alone.mean():.2f} ± {standard_error(alone):.2f}"
        )
    return Claim(
        "Joint samples are nearer to real features than independent ones (our extension).",
        "At every layer the Fréchet distance of the better joint model is below that of "
        "independent histograms by more than two standard errors over draws.",
        f"{'; '.join(texts)} (1 is the distance of other real features)",
        holds,
    )


def _better(drawn: Mapping[str, Drawn]) -> tuple[str, Drawn]:
    name = min(JOINT, key=lambda name: drawn[name].feature_distance.mean())
    return name, drawn[name]


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
        best, joint = _better(drawn)
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


def _rows(
    inverters: Mapping[str, Inverter], outcomes: Mapping[str, Mapping[str, Drawn]]
) -> list[dict]:
    rows = []
    for name, drawn in outcomes.items():
        for source, own in drawn.items():
            rows.append(
                {
                    "inverter": name,
                    "layer": layer_of(inverters[name]),
                    "kind": kind(inverters[name]),
                    "features": source,
                    "Fréchet distance": float(own.feature_distance.mean()),
                    "standard error": _error_or_none(own.feature_distance),
                    "Fréchet distance of the images": float(own.image_distance.mean()),
                    "standard error of the images": _error_or_none(own.image_distance),
                    "active units": own.active,
                    "contrast of the images": float(own.contrast),
                }
            )
    return rows


def _error_or_none(values: np.ndarray) -> float | None:
    return standard_error(values) if len(values) > 1 else None


def _charts(called: Mapping[str, str], outcomes: Mapping[str, Mapping[str, Drawn]]) -> list[Figure]:
    measures = {
        "Features drawn": ("feature_distance", "Distances of the draws from real features"),
        "Images of them": ("image_distance", "Distances of their images, encoded again"),
    }
    figures = []
    for title, (measure, caption) in measures.items():
        series: dict[str, dict[str, tuple[float, float]]] = {}
        for name, drawn in list(outcomes.items())[:MAX_ORDERED]:
            floor = getattr(drawn[REAL], measure).mean()
            values = {source: getattr(own, measure) / floor for source, own in drawn.items()}
            series[called[name]] = {
                source: (float(own.mean()), standard_error(own)) for source, own in values.items()
            }
        figures.append(
            dot_chart(
                series,
                title=f"{title}: how far from real ones",
                caption=f"{caption}, in units of the distance between two halves of real ones; "
                "bars are standard errors over draws.",
                x="Fréchet distance / that of real features",
                ordered=True,
            )
        )
    return figures


def _figure(label: str, drawn: Mapping[str, Drawn]) -> Figure:
    return image_rows(
        {source: scale_contrast(own.shown, _GAIN) for source, own in drawn.items()},
        title=f"Images of random features: {label}",
        caption=f"What {label} of other photographs and draws from models of it are inverted to; "
        f"contrast times {_GAIN:g} about each image's mean colour.",
    )
