"""The methods that go from a feature back to an image, run on the same features of one layer."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import smoothness_for
from tfinvert.analysis.inverters import NETWORK, kind
from tfinvert.analysis.parts import Arrays, Parts
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images

GRADIENT, HYBRID = "gradient-based inversion", "hybrid"
# Small steps, or the good start would be lost at once.
_HYBRID_RATE, _NEARNESS = 0.01, 100.0


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


def descend(
    feature: Feature, features: np.ndarray, initial: np.ndarray | None = None, **settings: Any
) -> Arrays:
    """Gradient-based inversion with the smoothness that suits the feature.

    Of features and initial images as `GradientInversion.invert` takes them, and with its settings,
    it gives "images", `[n, H, W, 3]`, and the "seconds" they took together.
    """
    method = GradientInversion(feature, smoothness=smoothness_for(feature), **settings)
    begin = time.perf_counter()
    found = method.invert(features, initial)
    return {"images": found, "seconds": np.float64(time.perf_counter() - begin)}


def relative_distance(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    """‖φ̂ - φ‖ / ‖φ‖ of each, two of `[n, ...]` become `[n]`; infinite, or 0, where φ is zeros."""
    distance = metrics.per_image_distance(references, features)
    norm = metrics.per_image_distance(np.zeros_like(references), references)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance > 0, distance / norm, 0.0)


def autoencoders_of(inverters: Mapping[str, Inverter], network: Inverter) -> dict[str, Inverter]:
    """The autoencoders of the network's layer; one of each kind."""
    found = {
        kind(each): name
        for name, each in reversed(inverters.items())
        if kind(each) != NETWORK and each.feature.name == network.feature.name
    }
    return {name: inverters[name] for name in reversed(found.values())}


def outcomes_of(
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
