"""The baseline that ignores its input."""

from collections.abc import Iterator

import numpy as np
from skimage.util import view_as_blocks

from tfinvert.analysis.baselines.base import Batch, GridBaseline, TrainableBaseline, sliding_windows
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class MeanImage(TrainableBaseline):
    """The mean training image, whatever the feature."""

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
        windows = sliding_windows(values, (2 * self.reach + 1, 2 * self.reach + 1))
        rows = windows.reshape(len(features) * self.grid[0] * self.grid[1], -1)
        return np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)


class NearestNeighbor(TrainableBaseline):
    """The training image of the nearest feature: Euclidean, of the standardised features.

    Features are kept as float16 and images as uint8: 50 000 of SIFT's 16×16×133 grids take 4 GB.
    A feature it has seen gives its own image; of up to eight equally near ones, the one seen first.
    """

    name = "nearest_neighbor"
    _BATCH = 256  # queries that share a reading of the training features
    _CANDIDATES = 8

    def _fit(self, batches: Iterator[Batch]) -> None:
        # A block for each batch: joined, they would be in memory twice.
        self._features, self._images, self._squares = [], [], []
        for features, images in batches:
            kept = self._kept(features)
            self._features.append(kept)
            self._squares.append(np.square(kept, dtype=np.float32).sum(1, dtype=np.float64))
            self._images.append(np.rint(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8))
        self._begins = np.cumsum([0, *map(len, self._squares)])

    def _invert(self, features: np.ndarray) -> np.ndarray:
        images = self._taken(self._images, self._nearest(features))
        return images.astype(np.float32) / np.float32(255.0)

    def _kept(self, features: np.ndarray) -> np.ndarray:
        """Standardised, float16 `[B, n]`; what float16 cannot hold becomes its largest number."""
        values = self._standardized(features).reshape(len(features), -1)
        limit = np.finfo(np.float16).max
        return np.clip(values, -limit, limit).astype(np.float16)

    def _nearest(self, features: np.ndarray) -> np.ndarray:
        """Which of the training images is nearest, counted as they came: int `[B]`."""
        # Matrix products find a few candidates, which are then compared without their rounding.
        queries = self._kept(features)
        wide = queries.astype(np.float32)
        blocks = zip(self._features, self._squares, strict=True)
        near = [squares - 2.0 * (wide @ block.astype(np.float32).T) for block, squares in blocks]
        order = np.argsort(np.concatenate(near, 1), 1, kind="stable")
        candidates = np.sort(order[:, : self._CANDIDATES], 1)  # of equally near ones the first
        exact = [
            np.square(self._taken(self._features, own) - query).sum(1)
            for query, own in zip(queries.astype(np.float64), candidates, strict=True)
        ]
        return np.take_along_axis(candidates, np.argmin(exact, 1)[:, np.newaxis], 1)[:, 0]

    def _taken(self, blocks: list[np.ndarray], indices: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self._begins, indices, "right") - 1
        within = indices - self._begins[places]
        return np.stack([blocks[i][j] for i, j in zip(places, within, strict=True)])
