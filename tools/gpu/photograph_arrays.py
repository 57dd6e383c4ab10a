"""The arrays of photographs that `photographs.py` writes, read."""

import pathlib
from typing import NamedTuple

import numpy as np

from tfinvert.errors import InputError

PIXELS, EXTENTS = "pixels.npy", "extents.npy"


class Photographs(NamedTuple):
    """Photographs of one shape with what of it they fill; see `photographs.py`.

    Attributes:
      pixels: uint8 `[n, height, width, 3]`.
      extents: int32 `[n, 3]`: height, width, and 1 for what lies on its side.
    """

    pixels: np.ndarray
    extents: np.ndarray


def load(path: str) -> Photographs:
    """What `photographs.py` wrote; the pixels stay on disk until they are looked at.

    Raises:
      InputError: it wrote nothing there.
    """
    folder = pathlib.Path(path)
    if not (folder / PIXELS).is_file():
        raise InputError(f"no photographs in {path}: photographs.py writes them")
    return Photographs(np.load(folder / PIXELS, mmap_mode="r"), np.load(folder / EXTENTS))


def upright(photographs: Photographs, index: int) -> np.ndarray:
    """One photograph as it was, uint8 `[H, W, 3]`."""
    height, width, lies = photographs.extents[index]
    photo = photographs.pixels[index, :height, :width]
    return np.ascontiguousarray(np.rot90(photo, -1) if lies else photo)
