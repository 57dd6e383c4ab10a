"""The baseline that ignores its input."""

from collections.abc import Iterator

import numpy as np

from tfinvert.analysis.baselines.base import Batch, LearntBaseline


class MeanImage(LearntBaseline):
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
