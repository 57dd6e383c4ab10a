"""What baselines for features on a grid have in common: cells, and windows of them."""

import numpy as np

from tfinvert.analysis.baselines.base import LearntBaseline
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class GridBaseline(LearntBaseline):
    """What is learnt alike for all cells of a grid feature `[rows, columns, channels]`.

    Attributes:
      grid: (rows, columns) of the feature.
      block: (height, width) of the pixels of a cell.

    Raises:
      InputError: the feature is no grid, or the image's sides are no multiples of the grid's.
    """

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization | None = None,
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
