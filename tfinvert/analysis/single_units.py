"""Features in which a single unit or channel is active."""

import numpy as np

from tfinvert.inverter import Inverter


def highest_variance_units(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of the units or channels of highest variance, in descending order.

    Args:
      features: `[n, ..., channels]`; the variance is over images and positions.
      count: maximum number of units. Units that never vary are left out.

    Returns:
      `[k]`, with k at most `count`.
    """
    variance = features.reshape(-1, features.shape[-1]).var(0, dtype=np.float64)
    return np.argsort(-variance, kind="stable")[: min(count, np.count_nonzero(variance))]


def isolate_units(
    features: np.ndarray, units: np.ndarray, factor: float, cell: tuple[int, int] | None = None
) -> np.ndarray:
    """Features that are zero except for one unit or channel each.

    Args:
      features: `[n, units]` or `[n, rows, columns, channels]`, from which the largest value of each
        unit is taken.
      units: indices of the units or channels, `[k]`.
      factor: multiple of the largest value to which a unit is set.
      cell: (row, column) of the only active cell of a grid; all cells by default.

    Returns:
      `[k, ...]`, float32.
    """
    values = features.reshape(-1, features.shape[-1]).max(0)[units] * factor
    isolated = np.zeros((len(units), *features.shape[1:]), np.float32)
    for feature, unit, value in zip(isolated, units, values, strict=True):
        feature[(*(cell or (...,)), unit)] = value
    return isolated


def clip_probabilities(inverter: Inverter, features: np.ndarray) -> np.ndarray:
    """Features with values of at most 1 if they are probabilities, else unchanged: `[k, ...]`."""
    return np.minimum(features, 1.0) if inverter.feature.log_floor else features
