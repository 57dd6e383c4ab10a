"""EfficientNet-Lite0 with the layer names of keras.applications.

EfficientNet-B0 (Tan & Le 2019) without squeeze-and-excitation and with ReLU6 in place of swish; the
first and the last convolution have a fixed width in all model sizes.
"""

import functools
from typing import NamedTuple

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import Preprocess

INPUT_SIZE = 224
CLASSES = 1000
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


class Stage(NamedTuple):
    """A stage: consecutive blocks with the same output channels.

    Attributes:
      blocks: number of blocks.
      kernel: side of the depthwise convolutions.
      stride: stride of the first block, 1 or 2.
      expansion: channels of the depthwise convolutions, as a multiple of the block's input.
      channels: output channels of each block.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def build(
    image_size: tuple[int, int] | None = None,
    input_size: int | tuple[int, int] | None = None,
    dropout: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """Builds EfficientNet-Lite0 with layers named stem_conv … probabilities.

    The output of a block is called block2a_project_bn, or block2b_add if the block has a skip
    connection; top_activation is the last grid, avg_pool its spatial mean, logits the vector before
    the softmax.

    Args:
      image_size: (height, width) of the images, in pixels; defaults to the input size. Images of
        another size are resized to the input size.
      input_size: side, or (height, width), of the network's input, in pixels; defaults to the
        training size, 224.
      dropout: dropout rate before the logits.
      seed: random seed of the initial weights.

    Returns:
      A functional model from RGB images `[B, *image_size, 3]` in [0, 1] to the probabilities of
      1 000 classes.

    Raises:
      InputError: the images or the input would have no pixels.
    """
    size = input_size or INPUT_SIZE
    size = (size, size) if isinstance(size, int) else tuple(size)
    image_size = tuple(image_size or size)
    if min(*size, *image_size) < 1:
        raise InputError(
            "the images and the input of EfficientNet-Lite0 must have at least 1×1 pixels. "
            f"Received: {image_size} and {size}"
        )
    init = functools.partial(keras.initializers.VarianceScaling, 2.0, "fan_out", seed=seed)
    inputs = keras.Input((*image_size, 3), name="images")
    x = Preprocess(size, "lite", name="preprocess")(inputs)
    x = _convolution(x, "stem_conv", "stem_bn", STEM_CHANNELS, init, side=3, strides=2)
    x = _relu6(x, "stem_activation")
    for i, stage in enumerate(STAGES, 1):
        for j in range(stage.blocks):
            first = j == 0
            x = _block(x, f"block{i}{chr(ord('a') + j)}", stage, stage.stride if first else 1, init)
    x = _relu6(_convolution(x, "top_conv", "top_bn", HEAD_CHANNELS, init), "top_activation")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dropout(dropout, name="top_dropout")(x)
    x = keras.layers.Dense(CLASSES, kernel_initializer=init(), name="logits")(x)
    x = keras.layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _block(
    x: keras.KerasTensor, name: str, stage: Stage, stride: int, init: functools.partial
) -> keras.KerasTensor:
    """Applies an inverted residual block: expansion, depthwise convolution, projection."""
    block_input = x
    if stage.expansion > 1:
        width = stage.expansion * x.shape[-1]
        x = _convolution(x, f"{name}_expand_conv", f"{name}_expand_bn", width, init)
        x = _relu6(x, f"{name}_expand_activation")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel,
        stride,
        "same",
        use_bias=False,
        depthwise_initializer=init(),
        name=f"{name}_dwconv",
    )(x)
    x = _relu6(keras.layers.BatchNormalization(name=f"{name}_bn")(x), f"{name}_activation")
    x = _convolution(x, f"{name}_project_conv", f"{name}_project_bn", stage.channels, init)
    if stride > 1 or block_input.shape[-1] != stage.channels:
        return x
    return keras.layers.Add(name=f"{name}_add")([x, block_input])


def _convolution(
    x: keras.KerasTensor,
    name: str,
    normalization: str,
    channels: int,
    init: functools.partial,
    side: int = 1,
    strides: int = 1,
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        channels, side, strides, "same", use_bias=False, kernel_initializer=init(), name=name
    )(x)
    # Keras' default epsilon, 1e-3, is also that of the published weights.
    return keras.layers.BatchNormalization(name=normalization)(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(6.0, name=name)(x)
