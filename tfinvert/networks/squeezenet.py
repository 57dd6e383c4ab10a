"""SqueezeNet 1.1 with the published layer names.

Iandola et al. 2016 and their Caffe definition of version 1.1: conv1 without padding, pooling that
keeps a partial last window, a ReLU after conv10. Keras allows no slash in a layer name, so
"fire2/squeeze1x1" is called fire2_squeeze1x1, and "fire2/concat", the output of a module, fire2.
"""

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import Preprocess, ceil_max_pool

INPUT_SIZE = 227
CLASSES = 1000
MIN_INPUT_SIZE = 17  # with smaller inputs, pool5 would be empty
FIRES = {  # channels of the squeeze layer and of each of the two expand layers
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
    """Builds SqueezeNet with layers named conv1, relu_conv1, pool1, … prob.

    pool10, the spatial mean of conv10, allows any input size.

    Args:
      image_size: (height, width) of the images, in pixels; defaults to the input size. Images of
        another size are resized to the input size.
      input_size: side, or (height, width), of the network's input, in pixels, each at least 17;
        defaults to the training size, 227.
      dropout: dropout rate before conv10.
      seed: random seed of the initial weights.

    Returns:
      A functional model from RGB images `[B, *image_size, 3]` in [0, 1] to the probabilities of
      1 000 classes.

    Raises:
      InputError: the images or the input are too small.
    """
    size = input_size or INPUT_SIZE
    size = (size, size) if isinstance(size, int) else tuple(size)
    if min(size) < MIN_INPUT_SIZE:
        raise InputError(
            f"the input of SqueezeNet must have at least {MIN_INPUT_SIZE}×{MIN_INPUT_SIZE} pixels. "
            f"Received: {'×'.join(map(str, size))}"
        )
    image_size = tuple(image_size or size)
    if min(image_size) < 1:
        raise InputError(f"images must have at least 1×1 pixels. Received: {image_size}")
    inputs = keras.Input((*image_size, 3), name="images")
    x = Preprocess(size, "caffe_rounded", name="preprocess")(inputs)
    x = _convolution(x, "conv1", 64, 3, seed, strides=2)
    x = ceil_max_pool(keras.layers.ReLU(name="relu_conv1")(x), "pool1")
    for name, (squeeze_channels, expand_channels) in FIRES.items():
        x = _fire(x, name, squeeze_channels, expand_channels, seed)
        if name in _POOLED:
            x = ceil_max_pool(x, _POOLED[name])
    x = keras.layers.Dropout(dropout, name="drop9")(x)
    x = keras.layers.ReLU(name="relu_conv10")(_convolution(x, "conv10", CLASSES, 1, seed))
    x = keras.layers.GlobalAveragePooling2D(name="pool10")(x)
    return keras.Model(inputs, keras.layers.Softmax(name="prob")(x), name="squeezenet")


def _fire(
    x: keras.KerasTensor, name: str, squeeze_channels: int, expand_channels: int, seed: int
) -> keras.KerasTensor:
    x = _convolution(x, f"{name}_squeeze1x1", squeeze_channels, 1, seed)
    x = keras.layers.ReLU(name=f"{name}_relu_squeeze1x1")(x)
    branches = []
    for side in (1, 3):
        expand = f"expand{side}x{side}"
        y = _convolution(x, f"{name}_{expand}", expand_channels, side, seed, padding="same")
        branches.append(keras.layers.ReLU(name=f"{name}_relu_{expand}")(y))
    return keras.layers.Concatenate(name=name)(branches)


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
