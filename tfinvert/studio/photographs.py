"""Loads the page's photographs (examples and uploads) and the shipped inverters."""

import dataclasses
import functools
import math
import pathlib

import numpy as np

from tfinvert import inverter as inverters
from tfinvert.data.augmentation import resize_uint8
from tfinvert.data.decode import read_rgb
from tfinvert.data.photos import SPLITS, load_photograph
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter

# The two views of the motorcycle look the same.
EXAMPLES = tuple(name for name in SPLITS["all"] if name != "motorcycle_right")
# An inverter for any size takes some seconds for this many pixels, which fill a screen.
MAX_PIXELS = 2**21
# Suffix of the names of inverters trained on thumbnails, including those for any size.
THUMBNAIL_SUFFIX = "-64"

# Import lines of the code that the page shows.
_IMPORT_PHOTOS = "from tfinvert.data.photos import load_photograph"
_IMPORT_DECODE = "from tfinvert.data.decode import read_rgb"
_IMPORT_RESIZE = "from tfinvert.data.augmentation import resize_uint8"
_IMPORT_CROP = "from tfinvert.data.pipeline import center_crop_and_resize"


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph, with the Python code that loads it.

    Attributes:
      pixels: uint8 `[H, W, 3]`.
      title: caption on the page.
      expression: Python expression for `pixels`.
      imports: import lines that the expression needs.
      note: notice for the user about changes to the photograph; may be empty.
    """

    pixels: np.ndarray
    title: str
    expression: str
    imports: tuple[str, ...]
    note: str = ""

    def resize(self, size: tuple[int, int] | None) -> np.ndarray:
        """Crops and resizes the photograph.

        Args:
          size: (height, width) in pixels of the result, which is the largest central crop of that
            shape; None for the photograph as it is.

        Returns:
          Float `[H, W, 3]` in [0, 1].
        """
        if size is None:
            return self.pixels / 255
        return center_crop_and_resize(self.pixels, size).numpy()

    def resize_code(self, size: str) -> tuple[str, tuple[str, ...]]:
        """Returns a Python expression for the result of `resize`, and the imports it needs.

        Args:
          size: Python expression for the (height, width); empty for the photograph as it is.
        """
        if not size:
            return f"{self.expression} / 255", self.imports
        expression = f"center_crop_and_resize({self.expression}, {size}).numpy()"
        return expression, (*self.imports, _IMPORT_CROP)


@functools.cache
def load_example(name: str) -> Photograph:
    """Loads one of `EXAMPLES`."""
    title = name.partition("_")[0]
    expression = f'load_photograph("{name}")'
    return Photograph(load_photograph(name), title, expression, (_IMPORT_PHOTOS,))


def read_photograph(path: str | pathlib.Path) -> Photograph:
    """Reads a photograph from a JPEG or PNG file, reducing it to at most `MAX_PIXELS` pixels.

    Raises:
      InputError: the file cannot be read; the message names the file without its folder.
    """
    name = pathlib.Path(path).name
    try:
        pixels = read_rgb(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name, 1)) from error
    height, width = pixels.shape[:2]
    expression, imports = f"read_rgb({name!r})", (_IMPORT_DECODE,)
    if height * width <= MAX_PIXELS:
        return Photograph(pixels, name, expression, imports)
    scale = math.sqrt(MAX_PIXELS / (height * width))
    size = max(1, int(height * scale)), max(1, int(width * scale))
    note = f"{name} was reduced from {width}×{height} to {size[1]}×{size[0]} pixels."
    expression, imports = f"resize_uint8({expression}, {size})", (_IMPORT_DECODE, _IMPORT_RESIZE)
    return Photograph(resize_uint8(pixels, size), name, expression, imports, note)


@functools.cache
def load_inverter(name: str) -> Inverter:
    """Loads a shipped inverter, once per process."""
    return inverters.load(name)


def required_size(name: str, inverter: Inverter) -> tuple[int, int] | None:
    """Returns the (height, width) that an inverter needs, in pixels; None if it takes any size.

    An inverter trained on thumbnails is given thumbnails, even if it takes any size.
    """
    any_size = inverter.any_size and not name.endswith(THUMBNAIL_SUFFIX)
    return None if any_size else inverter.feature.image_shape[:2]
