"""Linear regression, a cell at a time."""

from collections.abc import Iterator

import numpy as np
from skimage.util import view_as_blocks

from tfinvert.analysis.baselines.base import Batch
from tfinvert.analysis.baselines.grids import GridBaseline, windows_of
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class CellRidge(GridBaseline):
    """Ridge regression from a cell's neighbourhood to its pixels, one for all cells.

    The neighbourhood is standardised, and zero outside the grid; the constant is not penalised.

    Args:
      feature: of a grid; this and the next two as `LearntBaseline` takes them.
      standardization: likewise.
      output_size: likewise.
      reach: cells the neighbourhood goes in each direction; 1 is 3×3 cells.
      penalty: of the squared weights, in units of the mean over the inputs of their summed squares.
    """

    name = "cell_ridge"

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization | None = None,
        output_size: tuple[int, int] | None = None,
        reach: int = 1,
        penalty: float = 1e-2,
    ):
        super().__init__(feature, standardization, output_size)
        if reach < 0 or not penalty > 0:
            raise InputError(
                f"{self.name} takes a reach of at least 0 and a penalty above 0. Received: "
                f"reach {reach}, penalty {penalty}"
            )
        self.reach, self.penalty = int(reach), float(penalty)

    def _fit(self, batches: Iterator[Batch]) -> None:
        inputs = (2 * self.reach + 1) ** 2 * self.feature.spec.shape[-1] + 1
        gram = np.zeros((inputs, inputs))
        moments = np.zeros((inputs, 3 * self.block[0] * self.block[1]))
        for features, images in batches:
            rows = self._neighbourhoods(features).astype(np.float64)
            gram += rows.T @ rows
            moments += rows.T @ view_as_blocks(images, (1, *self.block, 3)).reshape(len(rows), -1)
        diagonal = gram.diagonal()[:-1]
        # Features that never vary have no scale, and any penalty gives them the weight zero.
        penalty = np.full(inputs, (self.penalty * diagonal.mean()) or 1.0)
        penalty[-1] = 0.0
        self._weights = np.linalg.solve(gram + np.diag(penalty), moments).astype(np.float32)

    def _invert(self, features: np.ndarray) -> np.ndarray:
        blocks = self._neighbourhoods(features) @ self._weights
        images = blocks.reshape(-1, *self.grid, *self.block, 3).transpose(0, 1, 3, 2, 4, 5)
        return images.reshape(-1, *self.output_size, 3)

    def _neighbourhoods(self, features: np.ndarray) -> np.ndarray:
        """`[B, rows, columns, channels]` becomes `[B · rows · columns, inputs + 1]`, float32."""
        reach = (self.reach, self.reach)
        values = np.pad(self._standardized(features), ((0, 0), reach, reach, (0, 0)))
        windows = windows_of(values, (2 * self.reach + 1, 2 * self.reach + 1))
        rows = windows.reshape(len(features) * self.grid[0] * self.grid[1], -1)
        return np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)
