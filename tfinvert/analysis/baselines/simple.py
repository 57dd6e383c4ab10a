"""Mean image, linear regression and nearest neighbour."""

from collections.abc import Iterator

import numpy as np
from skimage.util import view_as_blocks

from tfinvert.analysis.baselines.base import (
    Batch,
    GridBaseline,
    TrainableBaseline,
    sliding_windows,
)
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class MeanImage(TrainableBaseline):
    """Returns the mean training image for every feature."""

    name = "mean_image"

    def _fit(self, batches: Iterator[Batch]) -> None:
        count, total = 0, 0.0
        for _, images in batches:
            count += len(images)
            total += images.sum(0, dtype=np.float64)
        self._mean = (total / count).astype(np.float32)

    def _invert(self, features: np.ndarray) -> np.ndarray:
        return np.repeat(self._mean[np.newaxis], len(features), 0)


class CellRidge(GridBaseline):
    """Ridge regression from a cell's neighbourhood to its pixels, with the same weights everywhere.

    The neighbourhood is standardised, and zero outside the grid; the intercept is not penalised.

    Args:
      feature: a grid feature.
      standardization: see `TrainableBaseline`.
      output_size: see `TrainableBaseline`.
      radius: cells by which the neighbourhood extends in each direction; 1 gives 3×3 cells.
      penalty: penalty of the squared weights, relative to the mean over the inputs of their sums of
        squares.

    Raises:
      InputError: the feature is not a grid of whole cells, or a number is out of range.
    """

    name = "cell_ridge"

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization | None = None,
        output_size: tuple[int, int] | None = None,
        radius: int = 1,
        penalty: float = 1e-2,
    ):
        super().__init__(feature, standardization, output_size)
        if radius < 0 or not penalty > 0:
            raise InputError(
                f"{self.name} takes a radius of at least 0 and a penalty above 0. Received: "
                f"radius={radius}, penalty={penalty}"
            )
        self.radius, self.penalty = int(radius), float(penalty)

    def _fit(self, batches: Iterator[Batch]) -> None:
        inputs = (2 * self.radius + 1) ** 2 * self.feature.spec.shape[-1] + 1
        gram = np.zeros((inputs, inputs))
        moments = np.zeros((inputs, 3 * self.block[0] * self.block[1]))
        for features, images in batches:
            rows = self._neighborhoods(features).astype(np.float64)
            gram += rows.T @ rows
            moments += rows.T @ view_as_blocks(images, (1, *self.block, 3)).reshape(len(rows), -1)
        diagonal = gram.diagonal()[:-1]
        # Constant features have no scale, and any penalty gives them zero weight.
        penalty = np.full(inputs, (self.penalty * diagonal.mean()) or 1.0)
        penalty[-1] = 0.0
        self._weights = np.linalg.solve(gram + np.diag(penalty), moments).astype(np.float32)

    def _invert(self, features: np.ndarray) -> np.ndarray:
        blocks = self._neighborhoods(features) @ self._weights
        images = blocks.reshape(-1, *self.grid, *self.block, 3).transpose(0, 1, 3, 2, 4, 5)
        return images.reshape(-1, *self.output_size, 3)

    def _neighborhoods(self, features: np.ndarray) -> np.ndarray:
        """Inputs of the regression, of which the last is the constant 1.

        `[B, rows, columns, channels]` → `[B · rows · columns, inputs]`.
        """
        pad = (self.radius, self.radius)
        values = np.pad(self._standardize(features), ((0, 0), pad, pad, (0, 0)))
        windows = sliding_windows(values, (2 * self.radius + 1, 2 * self.radius + 1))
        rows = windows.reshape(len(features) * self.grid[0] * self.grid[1], -1)
        return np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)


class NearestNeighbor(TrainableBaseline):
    """Returns the training image with the nearest feature (Euclidean, standardised).

    Features are stored as float16 and images as uint8: 50 000 SIFT grids of 16×16×133 take 4 GB. A
    training feature gives its own image; of up to eight equally near features, the first in the
    training set wins.
    """

    name = "nearest_neighbor"
    _BATCH_SIZE = 256  # queries compared in one pass over the training features
    _CANDIDATES = 8

    def _fit(self, batches: Iterator[Batch]) -> None:
        # One block a batch: concatenating them would take twice the memory.
        self._features, self._images, self._squares = [], [], []
        for features, images in batches:
            stored = self._compress(features)
            self._features.append(stored)
            self._squares.append(np.square(stored, dtype=np.float32).sum(1, dtype=np.float64))
            self._images.append(np.rint(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8))
        self._offsets = np.cumsum([0, *map(len, self._squares)])

    def _invert(self, features: np.ndarray) -> np.ndarray:
        images = self._gather(self._images, self._nearest(features))
        return images.astype(np.float32) / np.float32(255.0)

    def _compress(self, features: np.ndarray) -> np.ndarray:
        """Standardises to float16 `[B, n]`, with larger values clipped to float16's maximum."""
        values = self._standardize(features).reshape(len(features), -1)
        limit = np.finfo(np.float16).max
        return np.clip(values, -limit, limit).astype(np.float16)

    def _nearest(self, features: np.ndarray) -> np.ndarray:
        """Indices of the nearest training images, in the order of fitting: int `[B]`."""
        # Matrix products find a few candidates, which are then compared without rounding errors.
        queries = self._compress(features)
        wide = queries.astype(np.float32)
        blocks = zip(self._features, self._squares, strict=True)
        near = [squares - 2.0 * (wide @ block.astype(np.float32).T) for block, squares in blocks]
        order = np.argsort(np.concatenate(near, 1), 1, kind="stable")
        candidates = np.sort(order[:, : self._CANDIDATES], 1)  # the first of equally near ones
        exact = [
            np.square(self._gather(self._features, own) - query).sum(1)
            for query, own in zip(queries.astype(np.float64), candidates, strict=True)
        ]
        return np.take_along_axis(candidates, np.argmin(exact, 1)[:, np.newaxis], 1)[:, 0]

    def _gather(self, blocks: list[np.ndarray], indices: np.ndarray) -> np.ndarray:
        block_of = np.searchsorted(self._offsets, indices, "right") - 1
        within = indices - self._offsets[block_of]
        return np.stack([blocks[i][j] for i, j in zip(block_of, within, strict=True)])
