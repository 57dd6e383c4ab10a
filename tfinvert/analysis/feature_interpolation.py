"""Interpolation between the features of two images, and a score for cross-fading."""

import numpy as np

from tfinvert import metrics


def interpolate_features(
    start: np.ndarray, end: np.ndarray, t: float, keep_norm: bool = False
) -> np.ndarray:
    """Interpolates linearly between features a and b.

    The straight path is (1 - t)·a + t·b; halfway its norm is smaller than at the ends, the more so
    the less a and b are alike. With `keep_norm` the direction is that of (1 - t)·a/‖a‖ + t·b/‖b‖
    and the norm is (1 - t)·‖a‖ + t·‖b‖; between opposite features there is no such path, and
    halfway the feature is 0.

    Args:
      start: a, `[n, ...]`.
      end: b, `[n, ...]`.
      t: position on the path, from 0 (a) to 1 (b).
      keep_norm: whether the norm is interpolated linearly too.

    Returns:
      `[n, ...]`, float32.
    """
    t = np.float32(t)
    if not keep_norm:
        return (1 - t) * start + t * end
    norms = _norm(start), _norm(end)
    direction = (1 - t) * _normalize(start, norms[0]) + t * _normalize(end, norms[1])
    return _normalize(direction, _norm(direction)) * ((1 - t) * norms[0] + t * norms[1])


def interpolate_path(
    start: np.ndarray, end: np.ndarray, steps: int, keep_norm: bool = False
) -> np.ndarray:
    """Features at evenly spaced positions from `start` to `end`, both included.

    Args:
      start: `[n, ...]`.
      end: `[n, ...]`.
      steps: number of positions, at least 2.
      keep_norm: see `interpolate_features`.

    Returns:
      `[steps, n, ...]`, float32.

    Raises:
      ValueError: there are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"a path must have at least 2 steps. Received: {steps}")
    positions = np.linspace(0.0, 1.0, steps, dtype=np.float32)
    return np.stack([interpolate_features(start, end, t, keep_norm) for t in positions])


def crossfade_score(first: np.ndarray, middle: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Cross-fade score, 1 - ‖middle - (first + last) / 2‖ / (‖first - last‖ / 2).

    It is 1 where the middle is the mean of both ends, 0 where it is as far from that mean as the
    ends themselves, and negative where it is farther away. Equal ends score 1.

    Args:
      first: images of one end, `[n, ...]`.
      middle: images halfway, `[n, ...]`.
      last: images of the other end, `[n, ...]`.

    Returns:
      `[n]`.
    """
    departure = metrics.per_image_distance((first + last) / 2, middle)
    half = metrics.per_image_distance(first, last) / 2
    return 1 - np.divide(departure, half, out=np.zeros_like(half), where=half > 0)


def _norm(features: np.ndarray) -> np.ndarray:
    """L2 norm of each feature, with the axes kept."""
    axes = tuple(range(1, features.ndim))
    return np.sqrt(np.square(features).sum(axes, keepdims=True))


def _normalize(features: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Divides by the norms; a zero feature has no direction and stays zero."""
    return features / np.where(norms > 0, norms, 1)
