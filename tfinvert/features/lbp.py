"""VLFeat's uniform local binary patterns as batched TensorFlow ops (`vl/lbp.c`).

Each inner pixel is described by which of its eight neighbours are brighter, and each cell by how
often it holds each pattern: the 56 patterns with one run of ones, one bin for all or none, one for
all other patterns.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature, ImageShape
from tfinvert.features.grayscale import rgb_to_luma
from tfinvert.features.pooling import cell_histograms

BINS = 58
_CONSTANT, _OTHER = 56, 57
# East, then clockwise on the screen: (down, right).
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def lbp(images: tf.Tensor, cell_size: int = 16) -> tf.Tensor:
    """LBP of a batch: `[B, H, W, 1]` becomes `[B, ⌊H/16⌋, ⌊W/16⌋, 58]` (cell 16).

    Pixels vote for the four nearest cells, by distance; each cell's histogram is divided by its
    sum, and of that the square root is taken, so that every cell has the Euclidean norm 1.

    Args:
      images: float32, grey, at least one cell high and wide. The values are compared with `>`
        only, so any range will do.
      cell_size: pixels along the side of a cell, at least 3.
    """
    labels = tf.gather(_bin_of_pattern(), _patterns(images[..., 0]))
    histogram = cell_histograms(labels, BINS, cell_size)
    return tf.sqrt(histogram / tf.reduce_sum(histogram, -1, keepdims=True))


def _patterns(image: tf.Tensor) -> tf.Tensor:
    """Which neighbours are brighter, a bit each: `[B, H, W]` becomes int32 `[B, H-2, W-2]`."""
    centre = image[:, 1:-1, 1:-1]
    code = tf.zeros_like(centre, tf.int32)
    inner = {-1: slice(None, -2), 0: slice(1, -1), 1: slice(2, None)}
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        neighbour = image[:, inner[down], inner[right]]
        code += tf.where(neighbour > centre, 1 << bit, 0)
    return code


def _bin_of_pattern() -> np.ndarray:
    """The bin of each of the 256 patterns: first × 7 + length - 1 for one run of ones."""
    bins = np.full(256, _OTHER, np.int32)
    bins[0] = bins[255] = _CONSTANT
    for first in range(8):
        for length in range(1, 8):
            run = ((1 << length) - 1) << first
            bins[(run | run >> 8) & 255] = first * 7 + length - 1
    return bins


class Lbp(Feature):
    """LBP of the grey image (ITU-R 601 luma), as the paper inverts it (section 3).

    A count of comparisons: its derivative is zero wherever it has one.

    Args:
      image_shape: (height, width, 3), each side at least one cell.
      cell_size: pixels along the side of a cell; the paper's is 16.
    """

    name = "lbp"
    differentiable = False
    reach = 2

    def __init__(self, image_shape: ImageShape = (64, 64, 3), cell_size: int = 16):
        super().__init__(image_shape)
        if cell_size < 3:
            raise InputError(f"lbp: cell_size must be at least 3. Received: {cell_size}")
        if min(self.image_shape[:2]) < cell_size:
            raise InputError(
                f"lbp with cell_size {cell_size} takes images of at least {cell_size}×{cell_size} "
                f"pixels. Received: {self.image_shape[0]}×{self.image_shape[1]}"
            )
        self.cell_size = int(cell_size)

    @property
    def spec(self) -> tf.TensorSpec:
        """`[cells down, cells across, 58]` float32."""
        sides = (side // self.cell_size for side in self.image_shape[:2])
        return tf.TensorSpec((*sides, BINS), tf.float32, name=self.name)

    def compute(self, images: tf.Tensor) -> tf.Tensor:
        """`[B, H, W, 3]` becomes `[B, *spec.shape]`, each value in [0, 1]."""
        return lbp(rgb_to_luma(images), self.cell_size)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return super().get_config() | {"cell_size": self.cell_size}
