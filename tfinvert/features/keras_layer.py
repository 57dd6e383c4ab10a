"""A feature as a Keras layer, so that functional models start from photographs and can be saved."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features import registry
from tfinvert.features.base import Feature


@keras.saving.register_keras_serializable(package="tfinvert")
class FeatureLayer(keras.layers.Layer):
    """What `feature(x)` puts into a functional model where x is a symbolic Keras tensor.

    Keras reads it from a saved model where `tfinvert.features` has been imported.

    Args:
      feature: the feature, or what `registry.describe` says of it.
      **kwargs: a Keras layer's own.
    """

    def __init__(self, feature: Feature | Mapping[str, Any], **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        if not isinstance(feature, Feature):
            feature = registry.from_description(feature)
        self.feature = feature

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """`[B, *image_shape]` becomes `[B, *spec.shape]`."""
        return self.feature(images)

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """The feature's declared spec, so that host features need no tracing."""
        if tuple(images.shape[1:]) != self.feature.image_shape:
            raise InputError(
                f"{self.feature.name} was made for images of shape {self.feature.image_shape}. "
                f"Received: {images.shape[1:]}"
            )
        return keras.KerasTensor((images.shape[0], *self.feature.spec.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """The feature's description beside the layer's own arguments."""
        return {"name": self.name, "feature": registry.describe(self.feature)}


Feature.keras_layer = FeatureLayer
