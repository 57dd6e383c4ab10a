"""EfficientNet-Lite0 as a Keras functional model, its layers named as keras.applications does.

EfficientNet-B0 (Tan & Le 2019) without squeeze-and-excitation, with ReLU6 in place of swish, and
with the first and the last convolution of one width in all sizes.
"""

import functools
from typing import NamedTuple

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import Preprocess

INPUT_SIZE = 224
CLASSES = 1000
STEM, HEAD = 32, 1280  # channels


class Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
      blocks: how many; the first has the stride.
      kernel: side of the depthwise convolutions.
      stride: 1 or 2.
      expansion: channels of the depthwise convolutions, as a multiple of the block's input.
      channels: of each block's output.
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
    """EfficientNet-Lite0 from RGB images in [0, 1]; its layers are stem_conv … probabilities.

    A block's output is block2a_project_bn, or block2b_add where its input is added; top_activation
    is the last grid, avg_pool its mean, logits the vector before the softmax.

    Args:
      image_size: (height, width) of the images; by default the network's input. Others are
        resized to it.
      input_size: what the network sees, a side or (height, width); by default what it was trained
        on, 224.
      dropout: before the logits, while training.
      seed: of the initial weights.

    Returns:
      A functional model from `[B, *image_size, 3]` to the probabilities of 1 000 classes.

    Raises:
      InputError: an image or the input has no pixel.
    """
    size = input_size or INPUT_SIZE
    size = (size, size) if isinstance(size, int) else tuple(size)
    image_size = tuple(image_size or size)
    if min(*size, *image_size) < 1:
        raise InputError(
            "images and the input of EfficientNet-Lite0 have at least one pixel. "
            f"Received: {image_size} and {size}"
        )
    init = functools.partial(keras.initializers.VarianceScaling, 2.0, "fan_out", seed=seed)
    inputs = keras.Input((*image_size, 3), name="images")
    x = Preprocess(size, "lite", name="preprocess")(inputs)
    x = _convolution(x, "stem_conv", "stem_bn", STEM, init, side=3, strides=2)
    x = _relu6(x, "stem_activation")
    for i, stage in enumerate(STAGES, 1):
        for j in range(stage.blocks):
            first = j == 0
            x = _block(x, f"block{i}{chr(ord('a') + j)}", stage, stage.stride if first else 1, init)
    x = _relu6(_convolution(x, "top_conv", "top_bn", HEAD, init), "top_activation")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dropout(dropout, name="top_dropout")(x)
    x = keras.layers.Dense(CLASSES, kernel_initializer=init(), name="logits")(x)
    x = keras.layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _block(
    x: keras.KerasTensor, name: str, stage: Stage, stride: int, init: functools.partial
) -> keras.KerasTensor:
    """An inverted residual: expanded, convolved channel by channel, projected."""
    before = x
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
    if stride > 1 or before.shape[-1] != stage.channels:
        return x
    return keras.layers.Add(name=f"{name}_add")([x, before])


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
    return keras.layers.BatchNormalization(name=normalization)(x)  # epsilon 1e-3 is theirs too


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(6.0, name=name)(x)
