"""MobileNetV2 as torchvision trained it (Sandler et al. 2018), with keras.applications' names.

The two differ in the padding of strided convolutions, by a pixel each time, and in an epsilon.
"""

from typing import Any

import keras

from tfinvert.errors import InputError

INPUT_SIZE = 224
MIN_INPUT_SIZE = 32  # keras.applications takes no less
_FIRST = "Conv1"
_EPSILON = 1e-5


def build(input_size: int = INPUT_SIZE) -> keras.Model:
    """MobileNetV2, for weights from torchvision; its layers are Conv1 … out_relu … predictions.

    Args:
      input_size: side of the network's input, from 32 pixels up.

    Returns:
      A functional model from `[B, input_size, input_size, 3]`, normalised as PyTorch's networks
      take it, to the probabilities of 1 000 classes.

    Raises:
      InputError: the input is too small.
    """
    if input_size < MIN_INPUT_SIZE:
        raise InputError(
            f"the input of MobileNetV2 has at least {MIN_INPUT_SIZE}×{MIN_INPUT_SIZE} pixels. "
            f"Received: {input_size}"
        )
    model = keras.applications.MobileNetV2((input_size, input_size, 3), weights=None)
    return keras.models.clone_model(model, clone_function=_clone, call_function=_call)


def _clone(layer: keras.Layer) -> keras.Layer:
    config: dict[str, Any] = layer.get_config()
    if layer.name == _FIRST:
        config["padding"] = "valid"
    elif isinstance(layer, keras.layers.ZeroPadding2D):
        config["padding"] = 1
    elif isinstance(layer, keras.layers.BatchNormalization):
        config["epsilon"] = _EPSILON
    return type(layer).from_config(config)


def _call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
    if layer.name == _FIRST:
        inputs = (keras.layers.ZeroPadding2D(1, name=f"{_FIRST}_pad")(inputs[0]),)
    return layer(*inputs, **options)
