"""MobileNetV2 as torchvision trained it, with the layer names of keras.applications.

Sandler et al. 2018. The implementations of torchvision and keras.applications differ in the padding
of strided convolutions, by one pixel each, and in the epsilon of batch normalisation.
"""

from typing import Any

import keras

from tfinvert.errors import InputError

INPUT_SIZE = 224
MIN_INPUT_SIZE = 32  # the minimum of keras.applications
_FIRST_CONVOLUTION = "Conv1"
_EPSILON = 1e-5


def build(input_size: int = INPUT_SIZE) -> keras.Model:
    """Builds MobileNetV2 for torchvision's weights, with layers Conv1 … out_relu … predictions.

    Args:
      input_size: side of the network's input, in pixels; at least 32.

    Returns:
      A functional model from `[B, input_size, input_size, 3]`, with the input normalisation
      "torch" of `layers.PREPROCESSING`, to the probabilities of 1 000 classes.

    Raises:
      InputError: the input is too small.
    """
    if input_size < MIN_INPUT_SIZE:
        raise InputError(
            f"the input of MobileNetV2 must have at least {MIN_INPUT_SIZE}×{MIN_INPUT_SIZE} "
            f"pixels. Received: {input_size}"
        )
    model = keras.applications.MobileNetV2((input_size, input_size, 3), weights=None)
    return keras.models.clone_model(model, clone_function=_clone, call_function=_call)


def _clone(layer: keras.Layer) -> keras.Layer:
    config: dict[str, Any] = layer.get_config()
    if layer.name == _FIRST_CONVOLUTION:
        config["padding"] = "valid"
    elif isinstance(layer, keras.layers.ZeroPadding2D):
        config["padding"] = 1
    elif isinstance(layer, keras.layers.BatchNormalization):
        config["epsilon"] = _EPSILON
    return type(layer).from_config(config)


def _call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
    if layer.name == _FIRST_CONVOLUTION:
        padding = keras.layers.ZeroPadding2D(1, name=f"{_FIRST_CONVOLUTION}_pad")
        inputs = (padding(inputs[0]),)
    return layer(*inputs, **options)
