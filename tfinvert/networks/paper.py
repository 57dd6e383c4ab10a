"""The paper's inversion networks, their layer tables as data.

Dosovitskiy & Brox 2016, section 3 and its supplementary tables. The networks for HOG, LBP and SIFT
are close approximations: the paper's channels, kernels of ours where we could not read its own.
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
    """A network for features on a grid: a global stream and a detail stream, joined.

    The global stream contracts the grid to about 4×4 and expands it again, so that an output pixel
    can depend on distant cells, in the middle on all; the detail stream stays at the grid's
    resolution.

    Attributes:
      contract: (channels, kernel, stride) of each convolution of the global stream.
      expand: channels of its up-convolutions, kernel 4; as many as there are strides of 2.
      detail: (channels, kernel) of the detail stream.
      join: (channels, kernel) of the convolutions over both streams together.
      image: channels of the up-convolutions from the grid to the image, kernel 5, the last one
        excepted, which always has 3. Counted from the image: a grid that needs fewer begins with
        a later one.
    """

    contract: tuple[tuple[int, int, int], ...]
    expand: tuple[int, ...]
    detail: tuple[tuple[int, int], ...] = ((128, 5), (128, 3))
    join: tuple[tuple[int, int], ...] = ((256, 3), (128, 3))
    image: tuple[int, ...] = (128, 64, 32)


@dataclasses.dataclass(frozen=True)
class OneStream:
    """A network for a fine grid that is mostly empty: contracted to about 4×4, then expanded.

    Attributes:
      contract: (channels, kernel, stride) of each convolution.
      image: channels of the up-convolutions to the image, as in `TwoStream`.
    """

    contract: tuple[tuple[int, int, int], ...]
    image: tuple[int, ...]


# By the number of halvings from the grid to about 4×4. The paper's at 256 pixels are the last one
# for HOG (cell 8), the one before for LBP (cell 16); the others keep its shape of idea.
TWO_STREAM = {
    0: TwoStream(((256, 5, 1), (512, 3, 1)), ()),
    1: TwoStream(((256, 5, 2), (512, 3, 1)), (256,)),
    2: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 1)), (512, 256)),
    3: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 2)), (512, 256, 128)),
}
# Likewise; the last one is the paper's for SIFT (cell 4) at 256 pixels.
ONE_STREAM = {
    1: OneStream(((256, 5, 2), (512, 3, 1)), (128, 64)),
    2: OneStream(((256, 5, 2), (512, 3, 2), (512, 3, 1)), (256, 128, 64)),
    3: OneStream(((256, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 1)), (512, 256, 128, 64)),
    4: OneStream(
        ((256, 5, 2), (256, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 1)),
        (512, 512, 256, 128, 64),
    ),
}
# For AlexNet's layers, the paper's sizes come from the grid: 6×6 doubled five times is 192, 13×13
# four times is 208, 27×27 three times is 216; 4×4 after the fully connected layers becomes 128.
CONVOLUTIONS = (256, 256, 256)
UNITS = (4096, 4096)
START = (4, 256)  # side and channels of the grid that fully connected layers end in
IMAGE = (256, 128, 64, 32)  # channels to the image, counted from the image, as in `TwoStream`


def two_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For HOG and LBP; arguments as `inversion.build`."""
    grid, table = _grid_and_table(feature, TWO_STREAM)
    doublings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    for i, full in enumerate(table.expand, 1):
        x = upconv(x, scale_channels(full, width), 4, f"global_upconv{i}")
    x = _crop(x, grid, "global_crop")
    detail = inputs
    for i, (full, kernel) in enumerate(table.detail, 1):
        detail = conv(detail, scale_channels(full, width), kernel, f"detail_conv{i}")
    x = keras.layers.Concatenate(name="streams")([x, detail])
    for i, (full, kernel) in enumerate(table.join, 1):
        x = conv(x, scale_channels(full, width), kernel, f"join_conv{i}")
    return named_model(feature, inputs, _expand(x, table.image, doublings, width))


def one_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For SIFT; likewise."""
    grid, table = _grid_and_table(feature, ONE_STREAM)
    doublings = num_upsamplings(feature, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    strides = [stride for _, _, stride in table.contract]
    x = _expand(x, table.image, doublings + strides.count(2), width)
    return named_model(feature, inputs, _crop(x, tuple(side << doublings for side in grid), "crop"))


def convolutional(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    """For the convolutional layers of a network; likewise."""
    start, doublings = choose_initial_grid(feature, output_size)
    inputs = x = keras.Input(feature.spec.shape, name="features")
    for i, full in enumerate(CONVOLUTIONS, 1):
        x = conv(x, scale_channels(full, width), 3, f"conv{i}")
    if start != tuple(x.shape[1:3]):
        x = enlarge_grid(x, scale_channels(CONVOLUTIONS[-1], width), start, "enlarge")
    return named_model(feature, inputs, _expand(x, IMAGE, doublings, width))


def fully_connected(
    feature: Feature, output_size: Size | None, width: float, units: int
) -> keras.Model:
    """For its fully connected layers; likewise."""
    side, channels = START
    largest = side << (len(IMAGE) + 1)
    size = output_size or tuple(min(largest, side) for side in feature.image_shape[:2])
    doublings = max(1, min(len(IMAGE) + 1, math.floor(math.log2(min(size) / side))))
    start = tuple(max(1, round(side / (1 << doublings))) for side in size)
    if output_size and tuple(side << doublings for side in start) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} doubles {doublings} times and makes images whose "
            f"sides are multiples of {1 << doublings}. Received: {size[0]}×{size[1]}"
        )
    inputs = x = keras.Input(feature.spec.shape, name="features")
    counts = [units or scale_channels(full, width) for full in UNITS]
    for i, count in enumerate([*counts, math.prod(start) * scale_channels(channels, width)], 1):
        x = dense(x, count, f"dense{i}")
    x = keras.layers.Reshape((*start, scale_channels(channels, width)), name="grid")(x)
    return named_model(feature, inputs, _expand(x, IMAGE, doublings, width))


def _grid_and_table(feature: Feature, tables: Mapping[int, _Table]) -> tuple[Size, _Table]:
    """The feature's rows and columns, and the table that contracts them to about 4×4."""
    smallest = 4 << min(tables)
    if len(feature.spec.shape) != 3 or min(feature.spec.shape[:2]) < smallest:
        raise InputError(
            f"a {feature.decoder.replace('_', '-')} inversion network takes features [rows, "
            f"columns, channels] of at least {smallest}×{smallest} cells. Received: {feature.name} "
            f"with {list(feature.spec.shape)}"
        )
    grid = tuple(feature.spec.shape[:2])
    return grid, tables[min(max(tables), int(math.log2(min(grid) / 4)))]


def _contract(
    x: keras.KerasTensor, layers: tuple[tuple[int, int, int], ...], width: float
) -> keras.KerasTensor:
    for i, (full, kernel, stride) in enumerate(layers, 1):
        x = conv(x, scale_channels(full, width), kernel, f"global_conv{i}", stride)
    return x


def _expand(
    x: keras.KerasTensor, image: tuple[int, ...], doublings: int, width: float
) -> keras.KerasTensor:
    for i in range(1, doublings):
        full = image[max(0, i - doublings + len(image))]
        x = upconv(x, scale_channels(full, width), 5, f"image_upconv{i}")
    return upconv(x, 3, 5, "image", linear=True)


def _crop(x: keras.KerasTensor, size: Size, name: str) -> keras.KerasTensor:
    """Cuts what a side that halved unevenly came back too long."""
    surplus = [(0, grown - side) for grown, side in zip(x.shape[1:3], size, strict=True)]
    return keras.layers.Cropping2D(surplus, name=name)(x) if np.any(surplus) else x


# By `Feature.decoder`.
BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    "two_stream": two_stream,
    "one_stream": one_stream,
    "convolutional": convolutional,
    "fully_connected": fully_connected,
}
