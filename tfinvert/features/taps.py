"""Layers of Keras models as features: AlexNet's, a keras.applications model's, your own model's.

`alexnet/fc6` is the paper's fc6, the output of the layer's last processing step (Dosovitskiy & Brox
2016, section 3); raw layers have their own names, such as `alexnet/relu3`.

Several layers, such as `alexnet/conv1+conv3+conv5`, are computed in one pass and concatenated.
Grids are enlarged to the largest of them, so that no value is lost: a cell of the result has the
values of the cell of each grid that covers its centre. Each layer is standardised by itself.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError, first_line
from tfinvert.features.base import Feature, FeatureSpec, Stem

# For each network, the tap whose values are cached for all later taps, and its raw layer.
_STEMS = {"alexnet": ("conv5", "pool5"), "squeezenet": ("logits", "pool10")}
LOG_FLOOR = 1e-6  # of probabilities, see `Feature.log_floor`
_JOINED = "tfinvert_joined"  # name of the layer that concatenates several layers


class Tap(Feature):
    """The output of a layer of a Keras model: a grid `[h, w, c]` or a vector `[n]`.

    Args:
      name: the feature's name, for example "alexnet/conv5".
      model: maps images `[B, H, W, 3]` in [0, 1] to the layer's output.
      config: the other options that rebuild the tap, as JSON values.
      portable: see `Feature`.

    Raises:
      InputError: the layer's output is neither a grid nor a vector.
    """

    xla = False  # XLA convolutions are many times slower on a CPU, and XLA cannot downscale images

    def __init__(
        self, name: str, model: keras.Model, config: Mapping[str, Any], portable: bool = False
    ):
        super().__init__(model.input_shape[1:])
        self.name, self.model, self.portable = name, model, portable
        self._config = dict(config)
        shape = model.output_shape
        shape = shape[1:] if isinstance(shape, tuple) else shape  # a list for several outputs
        if not isinstance(shape, tuple) or len(shape) not in (1, 3) or None in shape:
            raise InputError(
                f"{name} outputs values of shape {list(shape)}; choose a layer whose output is a "
                "grid [rows, columns, channels] or a vector [units]"
            )
        # Sparse vectors train far worse with a scale per unit than with a single scale.
        self.standardize = "channel" if len(shape) == 3 else "layer"
        # On a linear scale only the largest probabilities would matter.
        self.log_floor = LOG_FLOOR if _is_softmax(model.layers[-1]) else 0.0
        last = model.layers[-1]
        self.parts = tuple(x.shape[-1] for x in last.input) if last.name == _JOINED else ()
        self.decoder = "convolutional" if len(shape) == 3 else "fully_connected"

    @property
    def spec(self) -> FeatureSpec:
        """The shape of the layer's output for one image, float32."""
        return FeatureSpec(self.model.output_shape[1:])

    def compute(self, images: Tensor) -> Tensor:
        """See `Feature.compute`; dropout and batch normalisation run in inference mode."""
        return ops.cast(self.model(images, training=False), "float32")

    def trainable_copy(self) -> "Tap":
        """See `Feature.trainable_copy`; fails if no layer up to the tap has weights."""
        if not self.model.trainable_variables:
            return super().trainable_copy()
        model = keras.models.clone_model(self.model)
        model.set_weights(self.model.get_weights())
        return Tap(self.name, model, self._config)

    def stem(self) -> Stem:
        """See `Feature.stem`; AlexNet is split behind conv5 and SqueezeNet behind the logits.

        Several layers with grids, which are at conv5 or before it, are cached as a whole.
        """
        family, _, layer = self.name.partition("/")
        tap, raw = _STEMS.get(family, ("", ""))
        joined_grids = self.parts and len(self.spec.shape) == 3
        names = [layer.name for layer in self.model.layers]
        if layer in (tap, raw) or raw not in names or joined_grids:
            return super().stem()
        middle = self.model.get_layer(raw).output
        stem = Tap(f"{family}/{tap}", keras.Model(self.model.input, middle), self._config)
        tail = keras.Model(middle, self.model.output)
        return Stem(stem, functools.partial(tail, training=False))

    def identity(self) -> Mapping[str, Any]:
        """See `Feature.identity`; depends on the weights, not on the file they were read from."""
        total = hashlib.sha256(json.dumps(_describe_layers(self.model), default=str).encode())
        for weight in self.model.get_weights():
            total.update(np.ascontiguousarray(weight))
        identity = {"tap": total.hexdigest(), "image_shape": list(self.image_shape)}
        # The description does not say which layers are joined, nor in which order.
        return identity | ({"layers": self.name} if self.parts else {})

    def get_config(self) -> dict[str, Any]:
        """See `Feature.get_config`."""
        return {**super().get_config(), **self._config}


def tap_layers(
    name: str,
    model: keras.Model,
    layers: Sequence[str],
    config: Mapping[str, Any],
    portable: bool = False,
) -> Tap:
    """Builds the tap of one or more layers of a model.

    Args:
      name: see `Tap`.
      model: see `truncate_model`.
      layers: names of layers of the model.
      config: see `Tap`.
      portable: see `Tap`.

    Raises:
      InputError: as `truncate_model`, `check_joinable`, `join_models` and `Tap`.
    """
    check_joinable(name, model, layers)
    models = [truncate_model(name, model, layer) for layer in layers]
    return Tap(name, join_models(name, models), config, portable)


def split_layers(layer: str, model: keras.Model) -> list[str]:
    """Returns the layers that LAYER+LAYER names; a layer of the model may itself have a plus."""
    return [layer] if layer in [each.name for each in model.layers] else layer.split("+")


def check_joinable(name: str, model: keras.Model, layers: Sequence[str]) -> None:
    """Checks the layers of a model that one feature is to contain.

    Raises:
      InputError: there are several, and one is there twice or consists of probabilities, which are
        standardised in their logarithm.
    """
    if len({*layers}) < len(layers):
        raise InputError(f"{name}: a feature has each layer once; leave out the repeated one")
    present = [each for each in model.layers if each.name in layers]
    if len(layers) > 1 and any(_is_softmax(each) for each in present):
        raise InputError(
            f"{name}: probabilities cannot be joined with other layers; use the layer before the "
            "softmax"
        )


def split_outputs(model: keras.Model, count: int) -> list[keras.Model]:
    """Returns a model for each of the outputs of `count` layers, on the same input and layers."""
    return [model] if count == 1 else [keras.Model(model.input, x) for x in model.outputs]


def join_models(name: str, models: Sequence[keras.Model]) -> keras.Model:
    """Joins models that have the same input: concatenates their outputs along the last axis.

    Grids are enlarged to the rows and columns of the largest, by repeating the nearest cell.

    Args:
      name: name of the tap, for error messages.
      models: each outputs a grid `[h, w, c]`, or each a vector `[n]`.

    Raises:
      InputError: there are grids and vectors, or other outputs.
    """
    if len(models) == 1:
        return models[0]
    shapes = [tuple(model.output_shape[1:]) for model in models]
    if {len(shape) for shape in shapes} not in ({1}, {3}) or any(None in shape for shape in shapes):
        raise InputError(
            f"{name}: grids of known size can be joined with each other, and vectors with each "
            "other, as a vector has no position on a grid. Received: layers of shape "
            f"{', '.join(str([*shape]) for shape in shapes)}"
        )
    outputs = [model.output for model in models]
    if len(shapes[0]) == 3:
        size = tuple(max(sides) for sides in zip(*(shape[:2] for shape in shapes), strict=True))
        outputs = [
            output
            if shape[:2] == size
            else keras.layers.Resizing(*size, "nearest", data_format="channels_last")(output)
            for shape, output in zip(shapes, outputs, strict=True)
        ]
    joined = keras.layers.Concatenate(axis=-1, name=_JOINED)(outputs)
    return keras.Model(models[0].input, joined)


def truncate_model(name: str, model: keras.Model, layer: str) -> keras.Model:
    """Builds the part of a model that ends with one of its layers.

    Args:
      name: name of the tap, for error messages.
      model: a model with one input.
      layer: name of the layer.

    Raises:
      InputError: the model has no such layer, or the layer's output does not depend on the model's
        input alone.
    """
    names = [each.name for each in model.layers if not isinstance(each, keras.layers.InputLayer)]
    if layer not in names:
        raise InputError(f"{name}: no layer {layer!r}; choose one of {', '.join(names)}")
    try:
        (inputs,) = model.inputs
        truncated = keras.Model(inputs, model.get_layer(layer).output)
        # Keras 3.12, the last for Python 3.10, reports a disconnected graph only when it is called.
        if sum(isinstance(each, keras.layers.InputLayer) for each in truncated.layers) > 1:
            raise ValueError("its output is not connected to the model's input")
        return truncated
    except (ValueError, AttributeError, RuntimeError) as error:
        # The output of a nested model is known for the nested model's own input only.
        reason = first_line(error)
        raise InputError(
            f"{name}: the model cannot be truncated after layer {layer}: {reason}"
        ) from error


def restore_tap(description: Mapping[str, Any], model: keras.Model) -> Tap:
    """Rebuilds a tap from its description by `registry.describe` and the model saved with it."""
    config = {k: v for k, v in description["config"].items() if k != "image_shape"}
    return Tap(description["name"], model, config)


def _is_softmax(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.Model):
        return _is_softmax(layer.layers[-1])
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax


def _describe_layers(model: keras.Model) -> list[Any]:
    """Layer types and configurations, nested models included, without Keras' numbered names."""
    return [
        _describe_layers(layer)
        if isinstance(layer, keras.Model)
        else [type(layer).__name__, {k: v for k, v in layer.get_config().items() if k != "name"}]
        for layer in model.layers
    ]
