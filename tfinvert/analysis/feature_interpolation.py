"""Paths between the features of two images, and whether their middle is both images at once."""

import numpy as np

from tfinvert import metrics


def interpolate_features(
    start: np.ndarray, end: np.ndarray, t: float, keep_norm: bool = False
) -> np.ndarray:
    """Features at t, from 0 to 1, between two of `[n, ...]`: `[n, ...]` float32.

    The straight path is (1 - t)·a + t·b, in whose middle the norm is smaller, the more so the less
    the ends are alike. To keep the norm gives (1 - t)·a/‖a‖ + t·b/‖b‖ the norm
    (1 - t)·‖a‖ + t·‖b‖; between opposite features there is no such path, and its middle is 0.
    """
    t = np.float32(t)
    if not keep_norm:
        return (1 - t) * start + t * end
    norms = _norm(start), _norm(end)
    direction = (1 - t) * _divided(start, norms[0]) + t * _divided(end, norms[1])
    return _divided(direction, _norm(direction)) * ((1 - t) * norms[0] + t * norms[1])


def interpolate_path(
    start: np.ndarray, end: np.ndarray, steps: int, keep_norm: bool = False
) -> np.ndarray:
    """`interpolate_features` two of `[n, ...]` at 2 or more evenly spaced t, 0 and 1 included.

    Returns:
      `[steps, n, ...]` float32.

    Raises:
      ValueError: there are fewer steps.
    """
    if steps < 2:
        raise ValueError(f"a path has at least 2 steps. Received: {steps}")
    points = np.linspace(0.0, 1.0, steps, dtype=np.float32)
    return np.stack([interpolate_features(start, end, t, keep_norm) for t in points])


def crossfade_score(first: np.ndarray, middle: np.ndarray, last: np.ndarray) -> np.ndarray:
    """1 - ‖middle - (first + last) / 2‖ / (‖first - last‖ / 2): three `[n, ...]` become `[n]`.

    1 where the middle is a plain cross-fade of the ends, 0 where it is as far from that as the ends
    themselves are, below 0 where it is farther. Ends that are the same count as 1.
    """
    departure = metrics.per_image_distance((first + last) / 2, middle)
    half = metrics.per_image_distance(first, last) / 2
    return 1 - np.divide(departure, half, out=np.zeros_like(half), where=half > 0)


def _norm(features: np.ndarray) -> np.ndarray:
    """L2 norm of each, with the axes kept."""
    axes = tuple(range(1, features.ndim))
    return np.sqrt(np.square(features).sum(axes, keepdims=True))


def _divided(features: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """A feature of zeros has no direction and stays as it is."""
    return features / np.where(norms > 0, norms, 1)
