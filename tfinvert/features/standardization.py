"""Standardisation of features: mean and scale, measured on training images and saved.

Adam at a learning rate of 1e-3 collapses to the mean image on raw HOG values; standardised ones
train.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature


@dataclasses.dataclass(frozen=True)
class Standardization:
    """Maps φ to (φ - mean) / scale or, if log_floor > 0, to (log(φ + log_floor) - mean) / scale.

    Attributes:
      mean: float32, `[channels]` or `[]`.
      scale: float32, the shape of `mean`, positive.
      log_floor: see `Feature.log_floor`.
    """

    mean: np.ndarray
    scale: np.ndarray
    log_floor: float = 0.0

    def __call__(self, features: Tensor) -> Tensor:
        """Standardises `[B, ..., channels]`, keeping the shape."""
        if self.log_floor:
            features = ops.log(ops.maximum(features, 0.0) + self.log_floor)
        return (features - self.mean) / self.scale

    @classmethod
    def measure(cls, feature: Feature, batches: Iterable[np.ndarray | Tensor]) -> "Standardization":
        """Measures mean and scale over batches of a feature's values.

        They are measured per channel, or for the whole layer or each of its parts, depending on
        `feature.standardize` and `feature.parts`.
        The scale of constant channels is 1, so that they become zero rather than NaN.

        Raises:
          InputError: there are no batches, or a value is not finite.
        """
        parts = feature.parts if feature.standardize == "layer" else ()
        num_axes = len(feature.spec.shape) if statistics_shape(feature) else None
        count, total, squares = 0, 0.0, 0.0
        for batch in batches:
            values = np.asarray(batch, np.float64)
            if feature.log_floor:
                values = np.log(np.maximum(values, 0.0) + feature.log_floor)
            axes = None if num_axes is None else tuple(range(num_axes))
            count += values.size if axes is None else values.size // values.shape[-1]
            total += values.sum(axes)
            squares += np.square(values).sum(axes)
        if not count:
            raise InputError(f"{feature.name}: no training images to standardise the feature on")
        mean, mean_square = total / count, squares / count
        if parts:
            mean, mean_square = (_average_parts(x, parts) for x in (mean, mean_square))
        deviation = np.sqrt(np.maximum(mean_square - np.square(mean), 0.0))
        if not np.isfinite(deviation).all():
            raise InputError(f"{feature.name}: the feature is not finite on the training images")
        scale = np.where(deviation > 1e-6, deviation, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32), feature.log_floor)


def statistics_shape(feature: Feature) -> tuple[int, ...]:
    """Returns the shape of a feature's mean and scale: `[channels]`, or `[]` for a single one."""
    by_channel = feature.standardize == "channel" or feature.parts
    return tuple(feature.spec.shape[-1:]) if by_channel else ()


def _average_parts(values: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Replaces the values `[channels]` of each part by their mean."""
    begins = np.cumsum([0, *parts[:-1]])
    return np.repeat(np.add.reduceat(values, begins) / parts, parts)
