"""The inversion networks of the paper, defined by layer tables.

Dosovitskiy & Brox 2016, section 3 and supplementary tables. The networks for HOG, LBP and SIFT are
close approximations: they have the paper's channels, but our own kernel sizes where the paper's are
not legible.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import keras
import numpy as np

from tfinvert.errors import InputError
from tfinvert.networks.blocks import conv, dense, enlarge_grid, upconv
from tfinvert.networks.common import (
    Feature,
    Size,
    choose_initial_grid,
    named_model,
    num_upsamplings,
    scale_channels,
)

_Table = TypeVar("_Table")


@dataclasses.dataclass(frozen=True)
class TwoStream:
    """Layer table of a two-stream network for features on a grid.

    The global stream downsamples the grid to about 4×4 and upsamples it again, so that an output
    pixel can depend on distant cells, and one in the middle on all cells. The detail stream stays
    at the grid's resolution.

    Attributes:
      contract: (channels, kernel, stride) of each convolution of the global stream.
      expand: channels of the up-convolutions of the global stream, kernel 4; one for each stride
        of 2.
      detail: (channels, kernel) of each convolution of the detail stream.
      join: (channels, kernel) of each convolution after the streams are concatenated.
      image: channels of the up-convolutions from the grid to the image, kernel 5, without the last
        one, which always has 3. A grid that needs fewer up-convolutions uses the last entries.
    """

    contract: tuple[tuple[int, int, int], ...]
    expand: tuple[int, ...]
    detail: tuple[tuple[int, int], ...] = ((128, 5), (128, 3))
    join: tuple[tuple[int, int], ...] = ((256, 3), (128, 3))
    image: tuple[int, ...] = (128, 64, 32)


@dataclasses.dataclass(frozen=True)
class OneStream:
    """Layer table of a one-stream network for a fine, sparse grid.

    The network downsamples the grid to about 4×4 and upsamples it to the image.

    Attributes:
      contract: (channels, kernel, stride) of each convolution.
      image: channels of the up-convolutions to the image; see `TwoStream.image`.
    """

    contract: tuple[tuple[int, int, int], ...]
    image: tuple[int, ...]


# Keys: number of halvings from the grid to about 4×4. At 256 pixels the paper has table 3 for HOG
# (cell 8) and table 2 for LBP (cell 16); the other tables follow the same pattern.
TWO_STREAM = {
    0: TwoStream(((256, 5, 1), (512, 3, 1)), ()),
    1: TwoStream(((256, 5, 2), (512, 3, 1)), (256,)),
    2: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 1)), (512, 256)),
    3: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 2)), (512, 256, 128)),
}
# Keys as in TWO_STREAM. At 256 pixels the paper has table 4 for SIFT (cell 4).
ONE_STREAM = {
    1: OneStream(((256, 5, 2), (512, 3, 1)), (128, 64)),
    2: OneStream(((256, 5, 2), (512, 3, 2), (512, 3, 1)), (256, 128, 64)),
    3: OneStream(((256, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 1)), (512, 256, 128, 64)),
    4: OneStream(
        ((256, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 1)),
        (512, 512, 256, 128, 64),
    ),
}
# For AlexNet's layers the grid determines the paper's image sizes: 6×6 upsampled five times is 192,
# 13×13 four times is 208, 27×27 three times is 216; 4×4, after fully connected layers, becomes 128.
CONV_CHANNELS = (256, 256, 256)
UNITS = (4096, 4096)
INITIAL_GRID = (4, 256)  # side and channels of the grid after the fully connected layers
IMAGE_CHANNELS = (256, 128, 64, 32)  # see `TwoStream.image`


def two_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for HOG and LBP; see `inversion.build`."""
    grid, table = _grid_and_table(feature, TWO_STREAM)
    upsamplings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    for i, channels in enumerate(table.expand, 1):
        x = upconv(x, scale_channels(channels, width), 4, f"global_upconv{i}")
    x = _crop(x, grid, "global_crop")
    detail = inputs
    for i, (channels, kernel) in enumerate(table.detail, 1):
        detail = conv(detail, scale_channels(channels, width), kernel, f"detail_conv{i}")
    x = keras.layers.Concatenate(name="streams")([x, detail])
    for i, (channels, kernel) in enumerate(table.join, 1):
        x = conv(x, scale_channels(channels, width), kernel, f"join_conv{i}")
    return named_model(feature, inputs, _expand(x, table.image, upsamplings, width))


def one_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for SIFT; see `inversion.build`."""
    grid, table = _grid_and_table(feature, ONE_STREAM)
    upsamplings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    strides = [stride for _, _, stride in table.contract]
    x = _expand(x, table.image, upsamplings + strides.count(2), width)
    x = _crop(x, tuple(side << upsamplings for side in grid), "crop")
    return named_model(feature, inputs, x)


def convolutional(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """Builds the network for convolutional layers of an encoder; see `inversion.build`."""
    grid, upsamplings = choose_initial_grid(feature, output_size)
    inputs = x = keras.Input(feature.spec.shape, name="features")
    for i, channels in enumerate(CONV_CHANNELS, 1):
        x = conv(x, scale_channels(channels, width), 3, f"conv{i}")
    if grid != tuple(x.shape[1:3]):
        x = enlarge_grid(x, scale_channels(CONV_CHANNELS[-1], width), grid, "enlarge")
    return named_model(feature, inputs, _expand(x, IMAGE_CHANNELS, upsamplings, width))


def fully_connected(
    feature: Feature, output_size: Size | None, width: float, hidden_units: int
) -> keras.Model:
    """Builds the network for fully connected layers of an encoder; see `inversion.build`."""
    grid_side, grid_channels = INITIAL_GRID
    most_upsamplings = len(IMAGE_CHANNELS) + 1
    largest = grid_side << most_upsamplings
    size = output_size or tuple(min(largest, side) for side in feature.image_shape[:2])
    upsamplings = math.floor(math.log2(min(size) / grid_side))
    upsamplings = max(1, min(most_upsamplings, upsamplings))
    grid = tuple(max(1, round(side / (1 << upsamplings))) for side in size)
    if output_size and tuple(side << upsamplings for side in grid) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} upsamples {upsamplings} times and produces images "
            f"whose sides are multiples of {1 << upsamplings}. Received: {size[0]}×{size[1]}"
        )
    inputs = x = keras.Input(feature.spec.shape, name="features")
    grid_channels = scale_channels(grid_channels, width)
    dense_units = [hidden_units or scale_channels(full, width) for full in UNITS]
    for i, count in enumerate([*dense_units, math.prod(grid) * grid_channels], 1):
        x = dense(x, count, f"dense{i}")
    x = keras.layers.Reshape((*grid, grid_channels), name="grid")(x)
    return named_model(feature, inputs, _expand(x, IMAGE_CHANNELS, upsamplings, width))


def _grid_and_table(feature: Feature, tables: Mapping[int, _Table]) -> tuple[Size, _Table]:
    """Returns the feature's (rows, columns) and the table that downsamples them to about 4×4."""
    smallest = 4 << min(tables)
    if len(feature.spec.shape) != 3 or min(feature.spec.shape[:2]) < smallest:
        raise InputError(
            f"a {feature.decoder.replace('_', '-')} inversion network needs features [rows, "
            f"columns, channels] of at least {smallest}×{smallest} cells. Received: {feature.name} "
            f"with {list(feature.spec.shape)}"
        )
    grid = tuple(feature.spec.shape[:2])
    return grid, tables[min(max(tables), int(math.log2(min(grid) / 4)))]


def _contract(
    x: keras.KerasTensor, layers: tuple[tuple[int, int, int], ...], width: float
) -> keras.KerasTensor:
    for i, (channels, kernel, stride) in enumerate(layers, 1):
        x = conv(x, scale_channels(channels, width), kernel, f"global_conv{i}", stride)
    return x


def _expand(
    x: keras.KerasTensor, image_channels: tuple[int, ...], upsamplings: int, width: float
) -> keras.KerasTensor:
    for i in range(1, upsamplings):
        channels = image_channels[max(0, i - upsamplings + len(image_channels))]
        x = upconv(x, scale_channels(channels, width), 5, f"image_upconv{i}")
    return upconv(x, 3, 5, "image", linear=True)


def _crop(x: keras.KerasTensor, size: Size, name: str) -> keras.KerasTensor:
    """Crops the rows and columns that odd sides gained when they were halved and doubled."""
    surplus = [(0, side - target) for side, target in zip(x.shape[1:3], size, strict=True)]
    return keras.layers.Cropping2D(surplus, name=name)(x) if np.any(surplus) else x


# By `Feature.decoder`.
BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    "two_stream": two_stream,
    "one_stream": one_stream,
    "convolutional": convolutional,
    "fully_connected": fully_connected,
}
