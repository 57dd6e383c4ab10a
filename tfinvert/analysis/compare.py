"""Inversion networks, gradient-based inversion and both combined, in image and in feature space.

A network gives the average of the images that share a feature, which is near the photograph, and
too blurred to have that feature itself. Gradient-based inversion finds an image that has it, which
need not be near. Their combination, which the paper leaves to future work, starts the second from
what the first gives and keeps it near.
"""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.descent import GRADIENT, descend
from tfinvert.analysis.inverters import NETWORK, common_size, kind, labels, layer_of
from tfinvert.analysis.parts import NOTHING_KEPT, Parts
from tfinvert.analysis.result import Claim, Result
from tfinvert.analysis.scores import scores
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import dot_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

HYBRID = "hybrid"
# Small steps, or the good start would be lost at once.
_HYBRID_RATE, _NEARNESS = 0.01, 100.0
_SHOWN = 8


class Outcome(NamedTuple):
    """What one method makes of the images at one layer.

    Attributes:
      name: of the inverter it is done with.
      method: `NETWORK`, a kind of autoencoder, `GRADIENT` or `HYBRID`.
      images: `[n, H, W, 3]`, at the photographs' size.
      image_error: ‖x̂ - x‖ / N of each, `[n]`.
      feature_error: ‖Φ(x̂) - Φ(x)‖ / ‖Φ(x)‖ of each, `[n]`, Φ being the inversion network's.
      seconds: from a feature to its image.
    """

    name: str
    method: str
    images: np.ndarray
    image_error: np.ndarray
    feature_error: np.ndarray
    seconds: float


def check(name: str, inverter: Inverter) -> None:
    """Takes inverters and autoencoders of features with a derivative.

    Raises:
      InputError: there is no derivative to follow.
    """
    feature = inverter.feature
    if not (feature.in_graph and feature.differentiable):
        raise InputError(
            "compare takes inverters of features with a derivative, as alexnet/fc6 or hog. "
            f"Received: {name}, of {feature.name}"
        )


def compare(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    gradient_images: int = 32,
    gradient_steps: int = 300,
    parts: Parts = NOTHING_KEPT,
) -> Result:
    """Scores inversion networks, their autoencoders, gradient-based inversion and the hybrid.

    All see the same few images. Reconstructions are resized to the images' size and scored there.
    The feature error is that of the feature the inversion network inverts, for the autoencoder's
    images too: its own encoder is another representation.

    Args:
      inverters: by name: inversion networks, and autoencoders of their layers, of which the first
        of each kind is taken.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: of the noise that gradient-based inversion starts from.
      gradient_images: at most so many of them, evenly spaced, are inverted; at least two.
      gradient_steps: of gradient-based inversion and of the hybrid.
      parts: keeps what these two find, which takes minutes.

    Raises:
      InputError: `check` refuses an inverter, an autoencoder has no inversion network beside it,
        or there are fewer than two images.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    common_size(inverters)
    networks = {name: each for name, each in inverters.items() if kind(each) == NETWORK}
    _check_partners(inverters, networks)
    few = images[evenly(len(images), gradient_images)]
    if len(few) < 2:
        raise InputError(f"compare takes at least two images. Received: {len(few)}")
    scale = metrics.mean_pairwise_distance(images)
    names, outcomes = labels(inverters), {}
    for name in tqdm.tqdm(networks, "compare", leave=False):
        given = {name: networks[name]} | _autoencoders(inverters, networks[name])
        outcomes[names[name]] = _outcomes(given, few, scale, gradient_steps, seed, parts)
    return Result(
        "Networks, gradient-based inversion, and both combined",
        f"{len(few)} of {len(images)} photographs, N = {scale:.2f}. The hybrid is gradient-based "
        "inversion that starts from the inversion network's image and is kept near it; both take "
        f"{gradient_steps} steps. Feature error: ‖Φ(x̂) - Φ(x)‖ / ‖Φ(x)‖, Φ being the feature that "
        "the inversion network inverts, for the autoencoder's images too, though its own encoder "
        "is another. Lower is better but for PSNR and SSIM; ± is a standard error.",
        [_finding(label, own) for label, own in outcomes.items()],
        [_row(each, inverters, few, scale) for own in outcomes.values() for each in own.values()],
        _figures(outcomes, few),
        claims(outcomes),
    )


def claims(outcomes: Mapping[str, Mapping[str, Outcome]]) -> list[Claim]:
    """What becomes of the paper's proposal; `outcomes` are by layer and by method."""
    return [
        _claim(
            "Combined with gradient-based inversion (the paper's future work), the inversion "
            "network's image comes to have the feature.",
            f"The hybrid's feature error is below the {NETWORK}'s",
            {
                label: own[NETWORK].feature_error - own[HYBRID].feature_error
                for label, own in outcomes.items()
            },
        ),
        _claim(
            "Combined with an inversion network (the paper's future work), gradient-based "
            "inversion comes nearer to the photograph.",
            f"The hybrid's image error is below {GRADIENT}'s",
            {
                label: own[GRADIENT].image_error - own[HYBRID].image_error
                for label, own in outcomes.items()
            },
        ),
    ]


def relative_distance(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    """‖φ̂ - φ‖ / ‖φ‖ of each, two of `[n, ...]` become `[n]`; infinite, or 0, where φ is zeros."""
    distance = metrics.per_image_distance(references, features)
    norm = metrics.per_image_distance(np.zeros_like(references), references)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance > 0, distance / norm, 0.0)


def _claim(finding: str, measure: str, gains: Mapping[str, np.ndarray]) -> Claim:
    """`gains`: by how much each image's error is lower, by layer."""
    values = {label: (float(x.mean()), float(scipy.stats.sem(x))) for label, x in gains.items()}
    return Claim(
        finding,
        f"{measure} at every layer, by more than 2 standard errors, paired over images.",
        ", ".join(
            f"{label} by {gain:.3f} ± {error:.3f}" for label, (gain, error) in values.items()
        ),
        all(gain > 2 * error for gain, error in values.values()),
    )


def _check_partners(inverters: Mapping[str, Inverter], networks: Mapping[str, Inverter]) -> None:
    layers = {each.feature.name for each in networks.values()}
    for name, inverter in inverters.items():
        if inverter.feature.name not in layers:
            raise InputError(
                "compare takes an autoencoder beside the inversion network of its layer. "
                f"Received: {name}, {kind(inverter)} of {inverter.feature.name}, alone"
            )


def _autoencoders(inverters: Mapping[str, Inverter], network: Inverter) -> dict[str, Inverter]:
    """Those of the network's layer; one of each kind."""
    found = {
        kind(each): name
        for name, each in reversed(inverters.items())
        if kind(each) != NETWORK and each.feature.name == network.feature.name
    }
    return {name: inverters[name] for name in reversed(found.values())}


def _outcomes(
    given: Mapping[str, Inverter],
    images: np.ndarray,
    scale: float,
    steps: int,
    seed: int,
    parts: Parts,
) -> dict[str, Outcome]:
    """By method, at one layer; `given` are its network, which comes first, and autoencoders."""
    network = next(iter(given.values()))
    features = network.encode(images)
    outcomes = {}
    for name, method, rebuilt, seconds in _methods(given, images, features, steps, seed, parts):
        rebuilt = resize_images(rebuilt, images.shape[1:3])
        image_error = metrics.per_image_distance(images, rebuilt) / scale
        feature_error = relative_distance(network.encode(rebuilt), features)
        outcomes[method] = Outcome(name, method, rebuilt, image_error, feature_error, seconds)
    return outcomes


def _methods(
    given: Mapping[str, Inverter],
    images: np.ndarray,
    features: np.ndarray,
    steps: int,
    seed: int,
    parts: Parts,
) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """(inverter's name, method, its images, seconds an image) of all at one layer."""
    networks = {name: _timed(each, each.encode(images)) for name, each in given.items()}
    for name, (rebuilt, seconds) in networks.items():
        yield name, kind(given[name]), rebuilt, seconds
    name, network = next(iter(given.items()))
    start, seconds = networks[name]
    from_noise = functools.partial(descend, network.feature, features, steps=steps, seed=seed)
    from_network = functools.partial(
        from_noise,
        resize_images(start, network.feature.image_shape[:2]),
        learning_rate=_HYBRID_RATE,
        nearness=_NEARNESS,
    )
    found = parts(f"compare/{name}-gradient", from_noise)
    yield name, GRADIENT, found["images"], float(found["seconds"]) / len(images)
    found = parts(f"compare/{name}-hybrid", from_network)
    yield name, HYBRID, found["images"], seconds + float(found["seconds"]) / len(images)


def _timed(inverter: Inverter, features: np.ndarray) -> tuple[np.ndarray, float]:
    """Reconstructions, and the seconds that one takes."""
    inverter.invert(features[:1])  # the first call is slow, and not what the time is about
    begin = time.perf_counter()
    rebuilt = inverter.invert(features)
    return rebuilt, (time.perf_counter() - begin) / len(features)


def _row(
    outcome: Outcome, inverters: Mapping[str, Inverter], images: np.ndarray, scale: float
) -> dict[str, Any]:
    return {
        "inverter": outcome.name,
        "layer": layer_of(inverters[outcome.name]),
        "method": outcome.method,
        "feature error": float(outcome.feature_error.mean()),
        "its standard error": float(scipy.stats.sem(outcome.feature_error)),
        **scores(images, outcome.images, scale),
        "seconds an image": outcome.seconds,
        "images": len(images),
    }


def _finding(label: str, outcomes: Mapping[str, Outcome]) -> str:
    return (
        f"{label}, feature error and image error: "
        + "; ".join(
            f"{method} {each.feature_error.mean():.3f} and {each.image_error.mean():.3f}"
            for method, each in outcomes.items()
        )
        + f". A network's image takes {1000 * outcomes[NETWORK].seconds:.1f} ms, the hybrid's "
        f"{outcomes[HYBRID].seconds:.1f} s."
    )


def _figures(outcomes: Mapping[str, Mapping[str, Outcome]], images: np.ndarray) -> list[Figure]:
    chosen = evenly(len(images), _SHOWN)
    pictures = [
        image_rows(
            {"photograph": images[chosen]}
            | {method: each.images[chosen] for method, each in own.items()},
            title=f"Ways back from {label}",
            caption="Photographs, and what each method finds for their features. The hybrid starts "
            "from the inversion network's image.",
        )
        for label, own in outcomes.items()
    ]
    return [
        _chart(outcomes, "feature_error", "relative feature error", "Who has the feature"),
        _chart(outcomes, "image_error", "normalised image error", "Who is near the photograph"),
        *pictures,
    ]


def _chart(
    outcomes: Mapping[str, Mapping[str, Outcome]], measure: str, x: str, title: str
) -> Figure:
    series: dict[str, dict[str, tuple[float, float]]] = {}
    for label, own in outcomes.items():
        for method, each in own.items():
            values = getattr(each, measure)
            value = float(values.mean()), float(scipy.stats.sem(values))
            series.setdefault(method, {})[label] = value
    return dot_chart(
        series,
        title=title,
        caption="Mean and standard error over the photographs; lower is better.",
        x=x,
    )
