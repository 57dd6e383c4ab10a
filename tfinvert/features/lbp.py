"""VLFeat's uniform local binary patterns as batched Keras operations (`vl/lbp.c`).

The pattern of a pixel is the set of its eight neighbours that are brighter; a cell is described by
the histogram of its patterns. There are 58 bins: 56 for the patterns with a single run of ones, one
for the constant patterns (all or none), and one for all others.
"""

from typing import Any

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, lookup
from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape
from tfinvert.features.grayscale import rgb_to_luma
from tfinvert.features.pooling import cell_histograms

BINS = 58
_CONSTANT, _OTHER = 56, 57
# (row, column) offsets from east, clockwise in the image.
_NEIGHBORS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def lbp(images: Tensor, cell_size: int = 16) -> Tensor:
    """Computes LBP: `[B, H, W, 1]` to `[B, ⌊H/16⌋, ⌊W/16⌋, 58]` (cell size 16).

    Each pixel votes for the four nearest cells, weighted bilinearly. A cell's histogram is divided
    by its sum, and the square root is taken, so that every cell has Euclidean norm 1.

    Args:
      images: float32, grey, at least one cell high and wide. Values are only compared with `>`,
        so their range is arbitrary.
      cell_size: pixels per cell side, at least 3.
    """
    labels = lookup(_bin_of_pattern(), _patterns(images[..., 0]))
    histogram = cell_histograms(labels, BINS, cell_size)
    return ops.sqrt(histogram / ops.sum(histogram, -1, keepdims=True))


def _patterns(image: Tensor) -> Tensor:
    """A bit per brighter neighbour: `[B, H, W]` to int32 `[B, H-2, W-2]`."""
    center = image[:, 1:-1, 1:-1]
    code = ops.zeros_like(center, "int32")
    inner = {-1: slice(None, -2), 0: slice(1, -1), 1: slice(2, None)}
    for bit, (down, right) in enumerate(_NEIGHBORS):
        neighbor = image[:, inner[down], inner[right]]
        code += ops.where(neighbor > center, 1 << bit, 0)
    return code


def _bin_of_pattern() -> np.ndarray:
    """Bin of each of the 256 patterns: first × 7 + length - 1 for a single run of ones."""
    bins = np.full(256, _OTHER, np.int32)
    bins[0] = bins[255] = _CONSTANT
    for first in range(8):
        for length in range(1, 8):
            run = ((1 << length) - 1) << first
            bins[(run | run >> 8) & 255] = first * 7 + length - 1
    return bins


class Lbp(Feature):
    """LBP of the grey image (ITU-R 601 luma), as inverted in the paper (section 3).

    It counts comparisons, so its derivative is zero almost everywhere.

    Args:
      image_shape: (height, width, 3), each side at least one cell.
      cell_size: pixels per cell side; 16 in the paper.
    """

    name = "lbp"
    differentiable = False
    receptive_field_radius = 2

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
    def spec(self) -> FeatureSpec:
        """`[grid rows, grid columns, 58]` float32."""
        grid = (side // self.cell_size for side in self.image_shape[:2])
        return FeatureSpec((*grid, BINS))

    def compute(self, images: Tensor) -> Tensor:
        """Computes LBP: `[B, H, W, 3]` to `[B, *spec.shape]`, each value in [0, 1]."""
        return lbp(rgb_to_luma(images), self.cell_size)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return super().get_config() | {"cell_size": self.cell_size}
