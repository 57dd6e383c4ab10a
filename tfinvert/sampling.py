"""A few out of many."""

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` evenly spaced ones out of `count`: int `[min(count, most)]`."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)
