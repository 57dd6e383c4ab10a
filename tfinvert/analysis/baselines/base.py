"""What the baselines have in common."""

import abc
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization

Batch = tuple[np.ndarray, np.ndarray]


class Baseline(abc.ABC):
    """From features of a representation back to images; `name` is what tables call it."""

    name: str
    _BATCH = 64

    def __init__(self, feature: Feature, output_size: tuple[int, int] | None = None):
        self.feature = feature
        height, width = output_size or feature.image_shape[:2]
        self.output_size = (int(height), int(width))

    @abc.abstractmethod
    def invert(self, features: Any) -> np.ndarray:
        """Features → reconstructions: `[B, *feature.spec.shape]` becomes `[B, *output_size, 3]`.

        Returns:
          float32 in [0, 1].

        Raises:
          InputError: the features are of another shape or not finite, or nothing was learnt.
        """

    def _checked(self, features: Any) -> np.ndarray:
        features = np.asarray(features, np.float32)
        if features.shape[1:] != tuple(self.feature.spec.shape):
            raise InputError(
                f"features of {self.feature.name} have the shape [B, "
                f"{', '.join(map(str, self.feature.spec.shape))}]. Received: {features.shape}"
            )
        if not np.isfinite(features).all():
            raise InputError(
                f"{self.name} takes finite features. Received: {self.feature.name} with values "
                "that are NaN or infinite"
            )
        return features


class TrainableBaseline(Baseline):
    """A baseline that learns from examples: checks and batches for those below.

    Args:
      feature: the representation that is inverted.
      standardization: of the feature, as the inverter's; None leaves features as they are.
      output_size: (height, width) of the reconstructions; the feature's image size unless given.
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
        """Learns from examples, each read once, and forgets what it learnt before.

        Args:
          batches: (features `[B, *feature.spec.shape]`, images `[B, *output_size, 3]` in [0, 1]).

        Returns:
          itself.

        Raises:
          InputError: there are no images, or a batch is of another shape or not finite.
        """
        self._fitted = False
        self._fit(self._checked_batches(batches))
        self._fitted = True
        return self

    def invert(self, features: Any) -> np.ndarray:
        """As `Baseline.invert`."""
        if not self._fitted:
            raise InputError(
                f"{self.name} of {self.feature.name} has learnt from no images: call fit first"
            )
        features = self._checked(features)
        parts = [features[i : i + self._BATCH] for i in range(0, len(features), self._BATCH)]
        images = [np.clip(self._invert(part), 0.0, 1.0) for part in parts]
        return np.concatenate([np.zeros((0, *self.output_size, 3)), *images], dtype=np.float32)

    @abc.abstractmethod
    def _fit(self, batches: Iterator[Batch]) -> None:
        """Learns from checked float32 batches of at most `_BATCH`; reads them all."""

    @abc.abstractmethod
    def _invert(self, features: np.ndarray) -> np.ndarray:
        """Inverts checked float32 features, 1 to `_BATCH` of them, without clipping."""

    def _checked_batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        empty = True
        for features, images in batches:
            features, images = self._checked(features), np.asarray(images)
            if images.shape != (len(features), *self.output_size, 3) or images.dtype.kind != "f":
                raise InputError(
                    f"{self.name} learns from {len(features)} features and as many floating point "
                    f"images of {self.output_size[0]}×{self.output_size[1]}×3. Received: "
                    f"{images.dtype} {images.shape}"
                )
            for begin in range(0, len(images), self._BATCH):
                part = slice(begin, begin + self._BATCH)
                empty = False
                yield features[part], images[part].astype(np.float32, copy=False)
        if empty:
            raise InputError(f"{self.name} of {self.feature.name}: no images to learn from")

    def _standardized(self, features: np.ndarray) -> np.ndarray:
        change = self.standardization
        return np.asarray(change(features) if change else features, np.float32)


class GridBaseline(TrainableBaseline):
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


def sliding_windows(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All windows: `[B, h, w, c]` becomes a view `[B, h - size + 1, w - size + 1, *size, c]`."""
    windows = np.lib.stride_tricks.sliding_window_view(values, size, (1, 2))
    return np.moveaxis(windows, 3, -1)
