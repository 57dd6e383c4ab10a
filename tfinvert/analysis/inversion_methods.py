"""The methods that go from a feature back to an image, run on the same features of one layer."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import default_smoothness
from tfinvert.analysis.inverters import NETWORK, inverter_kind
from tfinvert.analysis.result_cache import Arrays, ResultCache
from tfinvert.common.images import resize_images
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter

GRADIENT, HYBRID = "gradient-based inversion", "hybrid"
# Small steps, or the good start would be lost at once.
_HYBRID_RATE, _NEARNESS = 0.01, 100.0


def invert_by_gradient(
    feature: Feature, features: np.ndarray, initial: np.ndarray | None = None, **settings: Any
) -> Arrays:
    """Gradient-based inversion with the smoothness that suits the feature.

    Of features and initial images as `GradientInversion.invert` takes them, and with its settings,
    it gives "images", `[n, H, W, 3]`, and the "seconds" they took together.
    """
    method = GradientInversion(feature, smoothness=default_smoothness(feature), **settings)
    begin = time.perf_counter()
    found = method.invert(features, initial)
    return {"images": found, "seconds": np.float64(time.perf_counter() - begin)}


def relative_feature_error(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    """‖φ̂ - φ‖ / ‖φ‖ of each, two of `[n, ...]` become `[n]`; infinite, or 0, where φ is zeros."""
    distance = metrics.per_image_distance(references, features)
    norm = metrics.per_image_distance(np.zeros_like(references), references)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance > 0, distance / norm, 0.0)


def matching_autoencoders(
    inverters: Mapping[str, Inverter], network: Inverter
) -> dict[str, Inverter]:
    """The autoencoders of the network's layer; one of each kind."""
    found = {
        inverter_kind(each): name
        for name, each in reversed(inverters.items())
        if inverter_kind(each) != NETWORK and each.feature.name == network.feature.name
    }
    return {name: inverters[name] for name in reversed(found.values())}


def run_inversion_methods(
    given: Mapping[str, Inverter],
    images: np.ndarray,
    features: np.ndarray,
    steps: int,
    seed: int,
    parts: ResultCache,
) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """All of one layer, of which the network comes first in `given`, before its autoencoders.

    Returns:
      Of each the name of the inverter it is done with; `NETWORK`, a kind of autoencoder, `GRADIENT`
      or `HYBRID`; the images it makes of these, or of the network's features of these; and the
      seconds from a feature to its image.
    """
    made = {}
    for name, inverter in given.items():
        own = inverter.encode(images)
        inverter.invert(own[:1])  # the first call is slow, and not what the time is about
        begin = time.perf_counter()
        rebuilt = inverter.invert(own)
        made[name] = rebuilt, (time.perf_counter() - begin) / len(images)
        yield name, inverter_kind(inverter), *made[name]
    name, network = next(iter(given.items()))
    start, seconds = made[name]
    from_noise = functools.partial(
        invert_by_gradient, network.feature, features, steps=steps, seed=seed
    )
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
