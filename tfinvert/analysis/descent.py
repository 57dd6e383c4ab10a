"""Gradient-based inversion as the experiments run it: how smooth, and how long it took."""

import time
from typing import Any

import numpy as np

from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import smoothness_for
from tfinvert.analysis.parts import Arrays
from tfinvert.features.base import Feature

GRADIENT, HYBRID = "gradient-based inversion", "hybrid"


def descend(
    feature: Feature, features: np.ndarray, initial: np.ndarray | None = None, **settings: Any
) -> Arrays:
    """Images that have the features, with the smoothness that suits the feature.

    Args:
      feature: what is inverted.
      features: `[n, *feature.spec.shape]`.
      initial: images to start from, as `GradientInversion.invert` takes them.
      settings: further ones of `GradientInversion`.

    Returns:
      "images", `[n, H, W, 3]`, and the "seconds" they took together.
    """
    method = GradientInversion(feature, smoothness=smoothness_for(feature), **settings)
    begin = time.perf_counter()
    found = method.invert(features, initial)
    return {"images": found, "seconds": np.float64(time.perf_counter() - begin)}
