"""What baselines for features on a grid have in common: cells, their pixels, windows of them."""

import numpy as np

from tfinvert.analysis.baselines.base import StandardizedBaseline
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class GridBaseline(StandardizedBaseline):
    """What is learnt alike for all cells of a grid feature `[rows, columns, channels]`.

    Args:
      feature: the representation that is inverted.
      standardization: of the feature.
      output_size: (height, width) of the reconstructions; the feature's image size unless given.

    Attributes:
      grid: (rows, columns) of the feature.
      block: (height, width) of the pixels of a cell.

    Raises:
      InputError: the feature is no grid, or the image's sides are no multiples of the grid's.
    """

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization,
        output_size: tuple[int, int] | None = None,
    ):
        super().__init__(feature, standardization, output_size)
        shape = tuple(feature.spec.shape)
        if len(shape) != 3:
            raise InputError(
                f"{self.name} takes features of shape [rows, columns, channels]. Received: "
                f"{feature.name} of shape {shape}"
            )
        self.grid = shape[:2]
        (height, width), (rows, columns) = self.output_size, self.grid
        if height % rows or width % columns:
            raise InputError(
                f"{self.name}: the sides of images must be multiples of the grid's, {rows}×"
                f"{columns} for {feature.name}. Received: {height}×{width}"
            )
        self.block = (height // rows, width // columns)


def windows_of(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All windows: `[B, h, w, c]` becomes a view `[B, h - size + 1, w - size + 1, *size, c]`."""
    windows = np.lib.stride_tricks.sliding_window_view(values, size, (1, 2))
    return np.moveaxis(windows, 3, -1)


def to_blocks(images: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The pixels of each cell: `[B, H, W, 3]` becomes `[B · rows · columns, pixels · 3]`."""
    count, height, width, channels = images.shape
    rows, columns = grid
    blocks = images.reshape(count, rows, height // rows, columns, width // columns, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(count * rows * columns, -1)


def from_blocks(blocks: np.ndarray, grid: tuple[int, int], block: tuple[int, int]) -> np.ndarray:
    """The inverse of `to_blocks`."""
    images = blocks.reshape(-1, *grid, *block, 3).transpose(0, 1, 3, 2, 4, 5)
    return images.reshape(-1, grid[0] * block[0], grid[1] * block[1], 3)
