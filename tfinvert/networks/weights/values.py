"""Weights of an AlexNet in Keras' order, and how they get into a model."""

import dataclasses
from typing import Any

import keras
import numpy as np

from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of one AlexNet.

    Attributes:
      variant: "torchvision", "caffenet" or "bvlc".
      layers: (kernel, bias) in float32 of conv1 … conv5 and, unless they are a trunk only, of
        fc6 … fc8; `[h, w, in / groups, out]` and `[inputs, units]`, flattened as H, W, C.
      input_size: side of the network's input, where the file says so.
      facts: what the file says about where it comes from.
    """

    variant: str
    layers: dict[str, tuple[np.ndarray, np.ndarray]]
    input_size: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def units(self) -> tuple[int, int, int] | None:
        """Of fc6, fc7 and fc8, for `alexnet.build`; None for a trunk."""
        if "fc8" not in self.layers:
            return None
        return tuple(self.layers[layer][1].size for layer in ("fc6", "fc7", "fc8"))


def assign(model: keras.Model, weights: Weights) -> None:
    """Puts weights into a model of `alexnet.build`, whole or cut off after any layer.

    Weights of layers that the model does not have are left out. All is checked first: a model
    that is refused is as before.

    Args:
      model: of the same variant.
      weights: of at least its layers.

    Raises:
      InputError: the model is of another variant or shape, or the weights lack a layer.
    """
    _check_variant(model, weights.variant)
    layers = [layer for layer in model.layers if layer.weights]
    for layer in layers:
        if layer.name not in weights.layers:
            raise InputError(
                f"the weights have no {layer.name}, which the model has; they have "
                f"{', '.join(weights.layers)}"
            )
        for variable, array in zip(layer.weights, weights.layers[layer.name], strict=True):
            if tuple(variable.shape) != array.shape:
                raise InputError(
                    f"the {variable.name} of {layer.name} has shape {list(array.shape)} in the "
                    f"weights and {list(variable.shape)} in the model: another variant, input "
                    "size or number of units"
                )
    for layer in layers:
        layer.set_weights(weights.layers[layer.name])


def _check_variant(model: keras.Model, variant: str) -> None:
    """Shapes do not tell caffenet from bvlc; the order of normalisation and pooling does."""
    steps = [layer.name for layer in model.layers if layer.name in ("pool1", "norm1")]
    expected = [f"{step}1" for step in VARIANTS[variant].after_conv]
    name = model.name.removeprefix("alexnet_")
    if steps != expected[: len(steps)] or (name in VARIANTS and name != variant):
        given = f"of {name}" if name in VARIANTS else f"with {' → '.join(steps)}"
        raise InputError(
            f"the weights are of {variant} and the model is {given}: variants do not mix"
        )
