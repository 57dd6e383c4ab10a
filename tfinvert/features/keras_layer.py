"""The Keras layer that computes a feature, so that functional models can start from images."""

from collections.abc import Mapping
from typing import Any

import keras

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features import registry
from tfinvert.features.base import Feature


@keras.saving.register_keras_serializable(package="tfinvert")
class FeatureLayer(keras.layers.Layer):
    """The layer that `feature(x)` adds to a functional model when x is a symbolic Keras tensor.

    Keras can load a saved model with this layer once `tfinvert.features` has been imported.

    Args:
      feature: the feature, or its description by `registry.describe`.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, feature: Feature | Mapping[str, Any], **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        if not isinstance(feature, Feature):
            feature = registry.from_description(feature)
        self.feature = feature

    def call(self, images: Tensor) -> Tensor:
        """Computes the feature: `[B, *image_shape]` to `[B, *spec.shape]`."""
        return self.feature(images)

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the feature's declared spec, so that host features need no tracing."""
        if tuple(images.shape[1:]) != self.feature.image_shape:
            raise InputError(
                f"{self.feature.name} was built for images of shape {self.feature.image_shape}. "
                f"Received: {images.shape[1:]}"
            )
        return keras.KerasTensor((images.shape[0], *self.feature.spec.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's name and the feature's description."""
        return {"name": self.name, "feature": registry.describe(self.feature)}


Feature.keras_layer = FeatureLayer
