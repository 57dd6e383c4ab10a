"""Reads the arrays of photographs that `photographs.py` writes."""

import pathlib
from typing import NamedTuple

import numpy as np

from tfinvert.errors import InputError

PIXELS, EXTENTS = "pixels.npy", "extents.npy"


class Photographs(NamedTuple):
    """Photographs, each padded to one shape; see `photographs.py`.

    Attributes:
      pixels: uint8 `[n, height, width, 3]`.
      extents: int32 `[n, 3]`: height and width without padding, and 1 for rotated photographs.
    """

    pixels: np.ndarray
    extents: np.ndarray


def load(path: str) -> Photographs:
    """Opens a directory of `photographs.py`; the pixels are memory-mapped.

    Raises:
      InputError: there are no photographs.
    """
    folder = pathlib.Path(path)
    if not (folder / PIXELS).is_file():
        raise InputError(f"--data must be a directory that photographs.py wrote. Received: {path}")
    return Photographs(np.load(folder / PIXELS, mmap_mode="r"), np.load(folder / EXTENTS))


def upright(photographs: Photographs, index: int) -> np.ndarray:
    """Returns a photograph in its original orientation, without padding, uint8 `[H, W, 3]`."""
    height, width, lies = photographs.extents[index]
    photo = photographs.pixels[index, :height, :width]
    return np.ascontiguousarray(np.rot90(photo, -1) if lies else photo)
