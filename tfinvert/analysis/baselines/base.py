"""Base classes of the baselines."""

import abc
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization

Batch = tuple[np.ndarray, np.ndarray]


class Baseline(abc.ABC):
    """Reconstructs images from the features of one representation.

    Attributes:
      name: name of the method in tables.
      feature: the representation.
      output_size: (height, width) of the reconstructions in pixels.
    """

    name: str
    _BATCH_SIZE = 64

    def __init__(self, feature: Feature, output_size: tuple[int, int] | None = None):
        self.feature = feature
        height, width = output_size or feature.image_shape[:2]
        self.output_size = (int(height), int(width))

    @abc.abstractmethod
    def invert(self, features: Any) -> np.ndarray:
        """Reconstructs images from features.

        Args:
          features: `[B, *feature.spec.shape]`.

        Returns:
          `[B, *output_size, 3]`, float32 in [0, 1].

        Raises:
          InputError: the features have another shape or are not finite, or the baseline has not
            been fitted.
        """

    def _check_features(self, features: Any) -> np.ndarray:
        features = np.asarray(features, np.float32)
        if features.shape[1:] != tuple(self.feature.spec.shape):
            raise InputError(
                f"features of {self.feature.name} must have the shape [B, "
                f"{', '.join(map(str, self.feature.spec.shape))}]. Received: {features.shape}"
            )
        if not np.isfinite(features).all():
            raise InputError(
                f"{self.name} takes finite features. Received: {self.feature.name} with NaN or "
                "infinite values"
            )
        return features


class TrainableBaseline(Baseline):
    """A baseline that is fitted on features and their images; checks and splits the batches.

    Args:
      feature: the representation.
      standardization: standardisation of its features, as in an inverter; None leaves them as they
        are.
      output_size: (height, width) of the reconstructions in pixels; the feature's image size by
        default.
    """

    _fitted = False

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization | None = None,
        output_size: tuple[int, int] | None = None,
    ):
        super().__init__(feature, output_size)
        self.standardization = standardization

    def fit(self, batches: Iterable[Batch]) -> "TrainableBaseline":
        """Fits the baseline, from scratch, in one pass over the batches.

        Args:
          batches: (features `[B, *feature.spec.shape]`, images `[B, *output_size, 3]` in [0, 1]).

        Returns:
          The baseline itself.

        Raises:
          InputError: there are no images, or a batch has another shape or is not finite.
        """
        self._fitted = False
        self._fit(self._check_batches(batches))
        self._fitted = True
        return self

    def invert(self, features: Any) -> np.ndarray:
        """Reconstructs images from features; see `Baseline.invert`."""
        if not self._fitted:
            raise InputError(f"{self.name} of {self.feature.name} is not fitted; call fit first")
        features = self._check_features(features)
        size = self._BATCH_SIZE
        batches = [features[i : i + size] for i in range(0, len(features), size)]
        images = [np.clip(self._invert(batch), 0.0, 1.0) for batch in batches]
        return np.concatenate([np.zeros((0, *self.output_size, 3)), *images], dtype=np.float32)

    @abc.abstractmethod
    def _fit(self, batches: Iterator[Batch]) -> None:
        """Fits on float32 batches of at most `_BATCH_SIZE`, and reads all of them."""

    @abc.abstractmethod
    def _invert(self, features: np.ndarray) -> np.ndarray:
        """Inverts 1 to `_BATCH_SIZE` float32 features, without clipping."""

    def _check_batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        empty = True
        for features, images in batches:
            features, images = self._check_features(features), np.asarray(images)
            if images.shape != (len(features), *self.output_size, 3) or images.dtype.kind != "f":
                raise InputError(
                    f"{self.name} is fitted on {len(features)} features and as many floating-point "
                    f"images of {self.output_size[0]}×{self.output_size[1]}×3. Received: "
                    f"{images.dtype} {images.shape}"
                )
            for start in range(0, len(images), self._BATCH_SIZE):
                batch = slice(start, start + self._BATCH_SIZE)
                empty = False
                yield features[batch], images[batch].astype(np.float32, copy=False)
        if empty:
            raise InputError(
                f"{self.name} of {self.feature.name} has no images to fit; give at least one. "
                "Received: 0 images"
            )

    def _standardize(self, features: np.ndarray) -> np.ndarray:
        standardize = self.standardization
        return np.asarray(standardize(features) if standardize else features, np.float32)


class GridBaseline(TrainableBaseline):
    """A baseline that treats all cells of a grid feature `[rows, columns, channels]` alike.

    Attributes:
      grid: (rows, columns) of the feature.
      block: (height, width) of a cell in pixels.

    Raises:
      InputError: the feature is not a grid, or the sides of the image are not multiples of the
        sides of the grid.
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
                f"{self.name} takes images whose sides are multiples of the grid's, {rows}×"
                f"{columns} for {feature.name}. Received: {height}×{width}"
            )
        self.block = (height // rows, width // columns)


def sliding_windows(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All windows of `[B, h, w, c]`, as a view `[B, h - size + 1, w - size + 1, *size, c]`."""
    windows = np.lib.stride_tricks.sliding_window_view(values, size, (1, 2))
    return np.moveaxis(windows, 3, -1)
