"""The baseline that remembers: the image of the nearest feature."""

from collections.abc import Iterator

import numpy as np

from tfinvert.analysis.baselines.base import Batch, LearntBaseline


class NearestNeighbor(LearntBaseline):
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
