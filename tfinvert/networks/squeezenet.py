"""SqueezeNet 1.1 as a Keras functional model with the published names.

Iandola et al. 2016 and their Caffe definition of version 1.1: conv1 without padding, pooling that
keeps a last, partial window, a ReLU behind conv10. Keras allows no slash in a name, so that
"fire2/squeeze1x1" is fire2_squeeze1x1 here, and "fire2/concat", a module's output, is fire2.
"""

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import Preprocess, ceil_max_pool

INPUT_SIZE = 227
CLASSES = 1000
MIN_INPUT_SIZE = 17  # less leaves pool5 no window
FIRES = {  # channels: squeezed, then of each of the two expansions
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}
_POOLED = {"fire3": "pool3", "fire5": "pool5"}


def build(
    image_size: tuple[int, int] | None = None,
    input_size: int | tuple[int, int] | None = None,
    dropout: float = 0.5,
    seed: int = 0,
) -> keras.Model:
    """SqueezeNet from RGB images in [0, 1]; its layers are conv1, relu_conv1, pool1, … prob.

    pool10 is the mean of conv10 over the image, a vector; it makes the network take any input.

    Args:
      image_size: (height, width) of the images; by default the network's input. Others are
        resized to it.
      input_size: what the network sees, a side or (height, width), from 17 pixels up; by default
        what it was trained on, 227.
      dropout: before conv10, while training.
      seed: of the initial weights.

    Returns:
      A functional model from `[B, *image_size, 3]` to the probabilities of 1 000 classes.

    Raises:
      InputError: an image or the input is too small.
    """
    size = input_size or INPUT_SIZE
    size = (size, size) if isinstance(size, int) else tuple(size)
    if min(size) < MIN_INPUT_SIZE:
        raise InputError(
            f"the input of SqueezeNet has at least {MIN_INPUT_SIZE}×{MIN_INPUT_SIZE} pixels. "
            f"Received: {'×'.join(map(str, size))}"
        )
    image_size = tuple(image_size or size)
    if min(image_size) < 1:
        raise InputError(f"images have at least one pixel. Received: {image_size}")
    inputs = keras.Input((*image_size, 3), name="images")
    x = Preprocess(size, "caffe_rounded", name="preprocess")(inputs)
    x = _convolution(x, "conv1", 64, 3, seed, strides=2)
    x = ceil_max_pool(keras.layers.ReLU(name="relu_conv1")(x), "pool1")
    for name, (squeezed, expanded) in FIRES.items():
        x = _fire(x, name, squeezed, expanded, seed)
        if name in _POOLED:
            x = ceil_max_pool(x, _POOLED[name])
    x = keras.layers.Dropout(dropout, name="drop9")(x)
    x = keras.layers.ReLU(name="relu_conv10")(_convolution(x, "conv10", CLASSES, 1, seed))
    x = keras.layers.GlobalAveragePooling2D(name="pool10")(x)
    return keras.Model(inputs, keras.layers.Softmax(name="prob")(x), name="squeezenet")


def _fire(
    x: keras.KerasTensor, name: str, squeezed: int, expanded: int, seed: int
) -> keras.KerasTensor:
    x = _convolution(x, f"{name}_squeeze1x1", squeezed, 1, seed)
    x = keras.layers.ReLU(name=f"{name}_relu_squeeze1x1")(x)
    both = []
    for side in (1, 3):
        expansion = f"expand{side}x{side}"
        y = _convolution(x, f"{name}_{expansion}", expanded, side, seed, padding="same")
        both.append(keras.layers.ReLU(name=f"{name}_relu_{expansion}")(y))
    return keras.layers.Concatenate(name=name)(both)


def _convolution(
    x: keras.KerasTensor,
    name: str,
    channels: int,
    side: int,
    seed: int,
    strides: int = 1,
    padding: str = "valid",
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        channels,
        side,
        strides,
        padding,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name=name,
    )(x)
