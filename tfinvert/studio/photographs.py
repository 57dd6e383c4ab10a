"""The photographs of the page: examples that come with libraries, and files that people give."""

import dataclasses
import functools
import math
import pathlib

import numpy as np

from tfinvert import inverter
from tfinvert.data.augmentation import resize_uint8
from tfinvert.data.decode import read_rgb
from tfinvert.data.photos import SPLITS, load_photograph
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter

# Both views of the motorcycle look the same.
EXAMPLES = tuple(name for name in SPLITS["all"] if name != "motorcycle_right")
# Some seconds of an inverter that takes any size, and a screen full.
MAX_PIXELS = 2**21
# The end of the names of inverters that have learnt from thumbnails, also where any size is taken.
THUMBNAIL_SUFFIX = "-64"

PHOTOS = "from tfinvert.data.photos import photograph"
DECODE = "from tfinvert.data.decode import read_rgb"
VIEWS = "from tfinvert.data.augmentation import resized"
PIPELINE = "from tfinvert.data.pipeline import central_view"


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph, and how Python comes by it.

    Attributes:
      pixels: uint8 `[H, W, 3]`.
      title: what the page calls it.
      expression: Python that gives `pixels`.
      imports: lines that the expression needs.
      note: what was done to it, for the reader of the page; may be empty.
    """

    pixels: np.ndarray
    title: str
    expression: str
    imports: tuple[str, ...]
    note: str = ""

    def fitted(self, size: tuple[int, int] | None) -> np.ndarray:
        """Float `[H, W, 3]` in [0, 1]: whole, or the largest central crop at a (height, width)."""
        return (
            self.pixels / 255 if size is None else center_crop_and_resize(self.pixels, size).numpy()
        )

    def fitting(self, size: str) -> tuple[str, tuple[str, ...]]:
        """Python that gives `fitted`, and the lines that it needs.

        Args:
          size: Python that gives the (height, width), empty for the whole photograph.
        """
        if not size:
            return f"{self.expression} / 255", self.imports
        return f"central_view({self.expression}, {size}).numpy()", (*self.imports, PIPELINE)


@functools.cache
def load_example(name: str) -> Photograph:
    """One of `EXAMPLES`."""
    title = name.partition("_")[0]
    return Photograph(load_photograph(name), title, f'photograph("{name}")', (PHOTOS,))


def read_photograph(path: str | pathlib.Path) -> Photograph:
    """A photograph from a JPEG or PNG file; one of more than `MAX_PIXELS` is reduced to that.

    Raises:
      InputError: it cannot be read; the line names the file without its folder.
    """
    name = pathlib.Path(path).name
    try:
        pixels = read_rgb(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name, 1)) from error
    height, width = pixels.shape[:2]
    expression, imports = f"read_rgb({name!r})", (DECODE,)
    if height * width <= MAX_PIXELS:
        return Photograph(pixels, name, expression, imports)
    scale = math.sqrt(MAX_PIXELS / (height * width))
    size = max(1, int(height * scale)), max(1, int(width * scale))
    note = f"{name} has {width}×{height} pixels; the page works on {size[1]}×{size[0]} of them."
    expression, imports = f"resized({expression}, {size})", (DECODE, VIEWS)
    return Photograph(resize_uint8(pixels, size), name, expression, imports, note)


@functools.cache
def load_inverter(name: str) -> Inverter:
    """An inverter that ships, read when it is first asked for."""
    return inverter.load(name)


def required_size(name: str, chosen: Inverter) -> tuple[int, int] | None:
    """The (height, width) of the photographs that an inverter is for; None for any."""
    whole = chosen.any_size and not name.endswith(THUMBNAIL_SUFFIX)
    return None if whole else chosen.feature.image_shape[:2]
