"""Residual inversion networks: most layers work at the resolution of the feature's grid.

A block is gated: what one convolution finds, another lets pass. No layer asks for a size: blocks
see their neighbourhood, and two of them the mean of a window around each cell. Where that covers
the grid, as it does up to 64 pixels in cells of 8, it is the mean of the whole.
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

CHANNELS, FINE_CHANNELS = 64, 48  # on the grid; between it and the image
BLOCKS = 6
CONTEXT = (2, 4)  # the blocks that see the window
WINDOW = 15  # cells


def grid(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For HOG and LBP; arguments as `inversion.build`."""
    doublings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = linear_conv(inputs, scale_channels(CHANNELS, width), 3, "first")
    return named_model(feature, inputs, _expand(_blocks(x), doublings, width))


def sparse_grid(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For SIFT, whose fine grid is mostly empty: blocks work at half its resolution."""
    doublings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = conv(inputs, scale_channels(CHANNELS, width), 3, "fine")
    x = linear_conv(x, scale_channels(CHANNELS, width), 4, "first", strides=2)
    return named_model(feature, inputs, _expand(_blocks(x), doublings + 1, width))


def convolutional(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For the convolutional layers of a network; likewise."""
    start, doublings = choose_initial_grid(feature, output_size)
    inputs = x = keras.Input(feature.spec.shape, name="features")
    if start != tuple(x.shape[1:3]):
        x = conv(x, scale_channels(CHANNELS, width), 3, "few")
        x = enlarge_grid(x, scale_channels(CHANNELS, width), start, "enlarge")
    x = linear_conv(x, scale_channels(CHANNELS, width), 3, "first")
    return named_model(feature, inputs, _expand(_blocks(x), doublings, width))


def _blocks(x: keras.KerasTensor) -> keras.KerasTensor:
    channels = x.shape[-1]
    for i in range(1, BLOCKS + 1):
        inner = keras.layers.LeakyReLU(0.2, name=f"block{i}_relu")(x)
        values = linear_conv(inner, channels, 3, f"block{i}_values")
        gates = linear_conv(inner, channels, 1, f"block{i}_gates")
        if i in CONTEXT:
            around = inner
            for axis, window in (("rows", (WINDOW, 1)), ("columns", (1, WINDOW))):
                around = keras.layers.AveragePooling2D(
                    window, 1, "same", name=f"block{i}_mean_of_{axis}"
                )(around)
            values, gates = (
                keras.layers.Add(name=f"block{i}_{name}_in_context")(
                    [
                        each,
                        linear_conv(
                            around, channels, 1, f"block{i}_around_{name}", initializer="zeros"
                        ),
                    ]
                )
                for name, each in (("values", values), ("gates", gates))
            )
        gates = keras.layers.Activation("sigmoid", name=f"block{i}_sigmoid")(gates)
        inner = keras.layers.Multiply(name=f"block{i}_gated")([values, gates])
        inner = linear_conv(inner, channels, 3, f"block{i}_out", initializer="zeros")
        x = keras.layers.Add(name=f"block{i}")([x, inner])
    return x


def _expand(x: keras.KerasTensor, doublings: int, width: float) -> keras.KerasTensor:
    """By sub-pixel up-convolutions, the last of which enlarges four times where it can."""
    last = min(doublings, 2)
    for i in range(1, doublings - last + 1):
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
