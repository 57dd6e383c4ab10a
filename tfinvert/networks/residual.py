"""Residual inversion networks, in which most layers have the resolution of the feature's grid.

The residual blocks are gated: the output of one convolution is multiplied by the sigmoid of
another. No layer depends on the grid's size. All blocks have a local receptive field; two of them
also receive the mean over a window around each cell. Where the window covers the grid, as it does
for images of up to 64 pixels in cells of 8, this is the mean over the whole grid.
"""

from collections.abc import Callable, Mapping

import keras

from tfinvert.networks import paper
from tfinvert.networks.blocks import conv, enlarge_grid, linear_conv, upconv
from tfinvert.networks.common import (
    Feature,
    Size,
    choose_initial_grid,
    named_model,
    num_upsamplings,
    scale_channels,
)

CHANNELS, FINE_CHANNELS = 64, 48  # at the grid's resolution; between the grid and the image
BLOCKS = 6
CONTEXT_BLOCKS = (2, 4)  # numbers of the blocks that receive the window's mean
WINDOW = 15  # side of the window, in cells


def grid(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for HOG and LBP; see `inversion.build`."""
    upsamplings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = linear_conv(inputs, scale_channels(CHANNELS, width), 3, "first")
    return named_model(feature, inputs, _expand(_residual_blocks(x), upsamplings, width))


def sparse_grid(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for SIFT; see `inversion.build`.

    The residual blocks have half the resolution of SIFT's fine, sparse grid.
    """
    upsamplings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = conv(inputs, scale_channels(CHANNELS, width), 3, "fine")
    x = linear_conv(x, scale_channels(CHANNELS, width), 4, "first", strides=2)
    return named_model(feature, inputs, _expand(_residual_blocks(x), upsamplings + 1, width))


def convolutional(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for convolutional layers of an encoder; see `inversion.build`."""
    initial_grid, upsamplings = choose_initial_grid(feature, output_size)
    inputs = x = keras.Input(feature.spec.shape, name="features")
    if initial_grid != tuple(x.shape[1:3]):
        x = conv(x, scale_channels(CHANNELS, width), 3, "few")
        x = enlarge_grid(x, scale_channels(CHANNELS, width), initial_grid, "enlarge")
    x = linear_conv(x, scale_channels(CHANNELS, width), 3, "first")
    return named_model(feature, inputs, _expand(_residual_blocks(x), upsamplings, width))


def _residual_blocks(x: keras.KerasTensor) -> keras.KerasTensor:
    channels = x.shape[-1]
    for i in range(1, BLOCKS + 1):
        activated = keras.layers.LeakyReLU(0.2, name=f"block{i}_relu")(x)
        values = linear_conv(activated, channels, 3, f"block{i}_values")
        gates = linear_conv(activated, channels, 1, f"block{i}_gates")
        if i in CONTEXT_BLOCKS:
            context = activated
            for axis, window in (("rows", (WINDOW, 1)), ("columns", (1, WINDOW))):
                context = keras.layers.AveragePooling2D(
                    window, 1, "same", name=f"block{i}_mean_of_{axis}"
                )(context)
            values = _add_context(values, context, f"block{i}", "values")
            gates = _add_context(gates, context, f"block{i}", "gates")
        gates = keras.layers.Activation("sigmoid", name=f"block{i}_sigmoid")(gates)
        update = keras.layers.Multiply(name=f"block{i}_gated")([values, gates])
        update = linear_conv(update, channels, 3, f"block{i}_out", initializer="zeros")
        x = keras.layers.Add(name=f"block{i}")([x, update])
    return x


def _add_context(
    x: keras.KerasTensor, context: keras.KerasTensor, block: str, path: str
) -> keras.KerasTensor:
    context = linear_conv(context, x.shape[-1], 1, f"{block}_around_{path}", initializer="zeros")
    return keras.layers.Add(name=f"{block}_{path}_in_context")([x, context])


def _expand(x: keras.KerasTensor, upsamplings: int, width: float) -> keras.KerasTensor:
    """Upsamples to the image by sub-pixel up-convolutions, the last one ×4 if possible."""
    last = min(upsamplings, 2)
    for i in range(1, upsamplings - last + 1):
        x = upconv(x, scale_channels(FINE_CHANNELS, width), 2, f"image_upconv{i}")
        x = conv(x, scale_channels(FINE_CHANNELS, width), 3, f"image_conv{i}")
    stride = 1 << last
    return upconv(x, 3, 3 * stride, "image", linear=True, stride=stride)


# By `Feature.decoder`; vectors have no grid for residual blocks.
BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    "two_stream": grid,
    "one_stream": sparse_grid,
    "convolutional": convolutional,
    "fully_connected": paper.fully_connected,
}
