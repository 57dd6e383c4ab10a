"""Discs with a soft edge, which stand for an object in the middle of a photograph."""

import numpy as np


def soft_disc(height: int, width: int, diameter: float, edge: float) -> np.ndarray:
    """A disc in the middle of `[height, width]` pixels: float32, 1 inside, 0 from its rim on.

    The diameter is in pixels, and so is the edge, above 0, over which it falls linearly, inwards
    from the rim.
    """
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.clip((diameter / 2 - distance) / edge, 0.0, 1.0).astype(np.float32)
