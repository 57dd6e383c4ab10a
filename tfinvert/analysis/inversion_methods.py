"""Inversion methods applied to the features of one layer: networks, gradient descent, and both."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import default_tv_weight
from tfinvert.analysis.inverters import NETWORK, inverter_kind
from tfinvert.analysis.result_cache import Arrays, ResultCache
from tfinvert.common.images import resize_images
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter

GRADIENT, HYBRID = "gradient-based inversion", "hybrid"
# Large steps would lose the good initial image at once.
_HYBRID_LEARNING_RATE, _HYBRID_PROXIMITY_WEIGHT = 0.01, 100.0


def invert_by_gradient(
    feature: Feature, features: np.ndarray, initial: np.ndarray | None = None, **settings: Any
) -> Arrays:
    """Gradient-based inversion with the default total-variation weight of the feature.

    Args:
      feature: the representation.
      features: `[n, *feature.spec.shape]`.
      initial: initial images, `[n, H, W, 3]` in [0, 1]; grey noise by default.
      settings: of `GradientInversion`.

    Returns:
      "images", `[n, H, W, 3]`, and "seconds", the time they took together.
    """
    method = GradientInversion(feature, tv_weight=default_tv_weight(feature), **settings)
    start = time.perf_counter()
    images = method.invert(features, initial)
    return {"images": images, "seconds": np.float64(time.perf_counter() - start)}


def relative_feature_error(features: np.ndarray, references: np.ndarray) -> np.ndarray:
    """‖φ̂ - φ‖ / ‖φ‖ of each feature: two `[n, ...]` → `[n]`.

    Where the reference φ is zero, the error is 0 for an equal feature and infinite for others.
    """
    distance = metrics.per_image_distance(references, features)
    norm = metrics.per_image_distance(np.zeros_like(references), references)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance > 0, distance / norm, 0.0)


def matching_autoencoders(
    inverters: Mapping[str, Inverter], network: Inverter
) -> dict[str, Inverter]:
    """The autoencoders of the network's layer, the first of each kind."""
    found = {
        inverter_kind(inverter): name
        for name, inverter in reversed(inverters.items())
        if inverter_kind(inverter) != NETWORK and inverter.feature.name == network.feature.name
    }
    return {name: inverters[name] for name in reversed(found.values())}


def run_inversion_methods(
    inverters: Mapping[str, Inverter],
    images: np.ndarray,
    features: np.ndarray,
    steps: int,
    seed: int,
    cache: ResultCache,
) -> Iterator[tuple[str, str, np.ndarray, float]]:
    """Reconstructs images from one layer by each method.

    Args:
      inverters: inverters of one layer by name: an inversion network first, then autoencoders.
      images: `[n, H, W, 3]` in [0, 1].
      features: the network's features of the images.
      steps: steps of gradient-based inversion and of the hybrid.
      seed: random seed of the noise from which gradient-based inversion starts.
      cache: keeps the images of both.

    Yields:
      The name of the inverter; the method (`NETWORK`, a kind of autoencoder, `GRADIENT` or
      `HYBRID`); its reconstructions; and the seconds an image takes.
    """
    outcomes = {}
    for name, inverter in inverters.items():
        encoded = inverter.encode(images)
        inverter.invert(encoded[:1])  # traces the graph, which is not part of the measured time
        start = time.perf_counter()
        reconstructions = inverter.invert(encoded)
        outcomes[name] = reconstructions, (time.perf_counter() - start) / len(images)
        yield name, inverter_kind(inverter), *outcomes[name]
    name, network = next(iter(inverters.items()))
    initial, seconds = outcomes[name]
    from_noise = functools.partial(
        invert_by_gradient, network.feature, features, steps=steps, seed=seed
    )
    from_network = functools.partial(
        from_noise,
        resize_images(initial, network.feature.image_shape[:2]),
        learning_rate=_HYBRID_LEARNING_RATE,
        proximity_weight=_HYBRID_PROXIMITY_WEIGHT,
    )
    found = cache(f"compare/{name}-gradient", from_noise)
    yield name, GRADIENT, found["images"], float(found["seconds"]) / len(images)
    found = cache(f"compare/{name}-hybrid", from_network)
    yield name, HYBRID, found["images"], seconds + float(found["seconds"]) / len(images)
