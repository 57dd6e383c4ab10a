"""Discs with a soft edge, which stand for an object in the middle of a photograph."""

import numpy as np


def soft_disc(height: int, width: int, diameter: float, edge: float) -> np.ndarray:
    """A disc in the middle: 1 inside, falling linearly to 0 at its rim.

    Args:
      height: in pixels.
      width: likewise.
      diameter: in pixels; nothing is above 0 beyond it.
      edge: the pixels over which it falls, inwards from the rim; above 0.

    Returns:
      `[height, width]` float32 in [0, 1].
    """
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.clip((diameter / 2 - distance) / edge, 0.0, 1.0).astype(np.float32)
