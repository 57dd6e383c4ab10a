"""Named layers of Keras models as features: AlexNet's, any keras.applications model's, your own.

`alexnet/fc6` is the paper's fc6, the output of the layer's last processing step (Dosovitskiy & Brox
2016, section 3); raw layers have their own names, `alexnet/relu3`.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError, first_line
from tfinvert.features.base import Feature, Stem

# A tap's name, and the layer before which a model runs once for all taps behind it.
_STEMS = {"alexnet": ("conv5", "pool5"), "squeezenet": ("logits", "pool10")}
_FLOOR = 1e-6


class Tap(Feature):
    """The output of a layer of a Keras model: a grid `[h, w, c]` or a vector `[n]`.

    Args:
      name: for example "alexnet/conv5".
      model: from images, `[B, H, W, 3]` in [0, 1], to the tap.
      config: the other options that make it again, as JSON values.
      portable: see `Feature`.

    Raises:
      InputError: the layer gives neither a grid nor a vector.
    """

    xla = False  # its convolutions are many times slower on a CPU, and it cannot shrink images

    def __init__(
        self, name: str, model: keras.Model, config: Mapping[str, Any], portable: bool = False
    ):
        super().__init__(model.input_shape[1:])
        self.name, self.model, self.portable = name, model, portable
        self._config = dict(config)
        shape = model.output_shape
        shape = shape[1:] if isinstance(shape, tuple) else shape  # or several outputs
        if not isinstance(shape, tuple) or len(shape) not in (1, 3) or None in shape:
            raise InputError(
                f"{name} gives values of shape {list(shape)}; a tap that can be inverted gives a "
                "grid [rows, columns, channels] or a vector [units]"
            )
        # A vector that is mostly zero wants one scale: that of each unit is worse by far.
        self.standardize = "channel" if len(shape) == 3 else "layer"
        # Linear layers would see little but the largest probability.
        self.log_floor = _FLOOR if _ends_in_softmax(model) else 0.0
        self.decoder = "convolutional" if len(shape) == 3 else "fully_connected"

    @property
    def spec(self) -> tf.TensorSpec:
        """The layer's output, of one image."""
        return tf.TensorSpec(self.model.output_shape[1:], tf.float32)

    def compute(self, images: tf.Tensor) -> tf.Tensor:
        """See `Feature.compute`; dropout and batch normalisation are as in inference."""
        return tf.cast(self.model(images, training=False), tf.float32)

    def to_train(self) -> "Tap":
        """See `Feature.to_train`; a layer without weights before it has none to train."""
        if not self.model.trainable_variables:
            return super().to_train()
        model = keras.models.clone_model(self.model)
        model.set_weights(self.model.get_weights())
        return Tap(self.name, model, self._config)

    def stem(self) -> Stem:
        """For AlexNet's fully connected layers the last convolution, for SqueezeNet the logits."""
        family, _, layer = self.name.partition("/")
        tap, raw = _STEMS.get(family, ("", ""))
        if layer in (tap, raw) or raw not in [layer.name for layer in self.model.layers]:
            return super().stem()
        middle = self.model.get_layer(raw).output
        stem = Tap(f"{family}/{tap}", keras.Model(self.model.input, middle), self._config)
        rest = keras.Model(middle, self.model.output)
        return Stem(stem, functools.partial(rest, training=False))

    def identity(self) -> Mapping[str, Any]:
        """By the weights and not by where they were read."""
        total = hashlib.sha256(json.dumps(_layers(self.model), default=str).encode())
        for weight in self.model.get_weights():
            total.update(np.ascontiguousarray(weight))
        return {"tap": total.hexdigest(), "image_shape": list(self.image_shape)}

    def get_config(self) -> dict[str, Any]:
        """See `Feature.get_config`."""
        return {**super().get_config(), **self._config}


def tap_layer(
    name: str, model: keras.Model, layer: str, config: Mapping[str, Any], portable: bool = False
) -> Tap:
    """The tap of a layer; see `truncate_model`."""
    return Tap(name, truncate_model(name, model, layer), config, portable)


def truncate_model(name: str, model: keras.Model, layer: str) -> keras.Model:
    """A model that ends with one of its layers.

    Args:
      name: of the tap, for what is said.
      model: with one input.
      layer: its name.

    Raises:
      InputError: the model has no such layer, or its output there cannot be told.
    """
    names = [each.name for each in model.layers if not isinstance(each, keras.layers.InputLayer)]
    if layer not in names:
        raise InputError(f"{name}: no layer {layer!r}; there are: {', '.join(names)}")
    try:
        (inputs,) = model.inputs
        ended = keras.Model(inputs, model.get_layer(layer).output)
        # Keras 3.12, the last for Python 3.10, says nothing before it is used.
        if sum(isinstance(each, keras.layers.InputLayer) for each in ended.layers) > 1:
            raise ValueError("its output is not connected to the model's input")
        return ended
    except (ValueError, AttributeError, RuntimeError) as error:
        # A model in the model knows its own input only.
        reason = first_line(error)
        raise InputError(f"{name}: the model cannot be cut behind {layer}: {reason}") from error


def restore_tap(description: Mapping[str, Any], model: keras.Model) -> Tap:
    """The tap that `registry.describe` described, from the model a saved inverter carries."""
    config = {k: v for k, v in description["config"].items() if k != "image_shape"}
    return Tap(description["name"], model, config)


def _ends_in_softmax(model: keras.Model) -> bool:
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        return _ends_in_softmax(last)
    activation = getattr(last, "activation", None)
    return isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax


def _layers(model: keras.Model) -> list[Any]:
    """What a model computes, without the names that Keras counts up; also of models in it."""
    return [
        _layers(layer)
        if isinstance(layer, keras.Model)
        else [type(layer).__name__, {k: v for k, v in layer.get_config().items() if k != "name"}]
        for layer in model.layers
    ]
