"""Features that are zero but for one unit or one channel."""

import numpy as np

from tfinvert.inverter import Inverter


def highest_variance_units(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of the units or channels of highest variance, the highest first.

    They are at most `count`, and none that never varies. Of features `[n, ..., channels]`, variance
    is over images and positions.
    """
    variance = features.reshape(-1, features.shape[-1]).var(0, dtype=np.float64)
    return np.argsort(-variance, kind="stable")[: min(count, np.count_nonzero(variance))]


def isolate_units(
    features: np.ndarray, chosen: np.ndarray, factor: float, cell: tuple[int, int] | None = None
) -> np.ndarray:
    """Features that are zero but for one unit or channel each: float32 `[k, ...]`.

    Args:
      features: `[n, units]` or `[n, rows, columns, channels]`, whose largest values are taken.
      chosen: `[k]`, which units or channels.
      factor: what the largest value is multiplied with.
      cell: of a grid, the only one that is switched on; None for all.
    """
    largest = features.reshape(-1, features.shape[-1]).max(0)[chosen] * factor
    made = np.zeros((len(chosen), *features.shape[1:]), np.float32)
    for one, unit, value in zip(made, chosen, largest, strict=True):
        one[(*(cell or (...,)), unit)] = value
    return made


def clip_probabilities(inverter: Inverter, features: np.ndarray) -> np.ndarray:
    """The features, of which probabilities are 1 at most: `[k, ...]`."""
    return np.minimum(features, 1.0) if inverter.feature.log_floor else features
