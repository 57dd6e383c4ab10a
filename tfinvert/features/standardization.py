"""Mean and scale of a feature, measured on training images and kept with the network.

Raw HOG values under Adam at 1e-3 fall back to the mean image; standardised ones train.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature


@dataclasses.dataclass(frozen=True)
class Standardization:
    """φ becomes (φ - mean) / scale, where log_floor is not 0 (log(φ + log_floor) - mean) / scale.

    Attributes:
      mean: float32, `[channels]` or `[]`.
      scale: float32, of the same shape, positive.
      log_floor: see `Feature.log_floor`.
    """

    mean: np.ndarray
    scale: np.ndarray
    log_floor: float = 0.0

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Standardises `[B, ..., channels]`; the shape stays."""
        if self.log_floor:
            features = tf.math.log(tf.maximum(features, 0.0) + self.log_floor)
        return (features - self.mean) / self.scale

    @classmethod
    def measure(
        cls, feature: Feature, batches: Iterable[np.ndarray | tf.Tensor]
    ) -> "Standardization":
        """Of a feature over batches of its values, per channel or for the layer as it asks.

        Channels that never vary get the scale 1, so that they become zero and not NaN.

        Raises:
          InputError: there are no batches, or a feature is not finite.
        """
        axes = len(feature.spec.shape) if feature.standardize == "channel" else None
        count, total, squares = 0, 0.0, 0.0
        for batch in batches:
            values = np.asarray(batch, np.float64)
            if feature.log_floor:
                values = np.log(np.maximum(values, 0.0) + feature.log_floor)
            over = None if axes is None else tuple(range(axes))
            count += values.size if axes is None else values.size // values.shape[-1]
            total += values.sum(over)
            squares += np.square(values).sum(over)
        if not count:
            raise InputError(f"{feature.name}: no training images to standardise the feature on")
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        if not np.isfinite(deviation).all():
            raise InputError(f"{feature.name}: the feature is not finite on the training images")
        scale = np.where(deviation > 1e-6, deviation, 1.0)
        return cls(np.asarray(mean, np.float32), np.asarray(scale, np.float32), feature.log_floor)
