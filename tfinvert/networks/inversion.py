"""From a feature to the network that inverts it; the layer tables of the paper as data.

Dosovitskiy & Brox 2016, section 3 and its supplementary tables. The networks for HOG, LBP and SIFT
are close approximations: the paper's channels, kernels of ours where we could not read its own.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TypeVar

import keras
import numpy as np

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.networks.upconv import conv, upconv

Size = tuple[int, int]
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


def build(feature: Feature, output_size: Size | None = None, width: float = 1.0) -> keras.Model:
    """The inversion network for a feature.

    Args:
      feature: its spec is the network's input, its `decoder` names the family of networks.
      output_size: (height, width) of the image; by default the feature's image size, brought to
        the next size the up-convolutions reach.
      width: scales the channels of every layer but the last.

    Returns:
      A functional model from `[B, *feature.spec.shape]`, standardised, to `[B, height, width, 3]`,
      in linear units around [0, 1].

    Raises:
      InputError: no network fits the feature, or none reaches `output_size`.
    """
    if not width > 0:
        raise InputError(f"width must be positive. Received: {width}")
    if feature.decoder not in _BUILDERS:
        raise InputError(
            f"{feature.name} asks for the decoder {feature.decoder!r}; there are: "
            f"{', '.join(sorted(_BUILDERS))}"
        )
    return _BUILDERS[feature.decoder](feature, output_size, width)


def _two_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    grid, table = _grid_and_table(feature, TWO_STREAM)
    doublings = _doublings(feature, grid, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    for i, full in enumerate(table.expand, 1):
        x = upconv(x, _channels(full, width), 4, f"global_upconv{i}")
    x = _crop(x, grid, "global_crop")
    detail = inputs
    for i, (full, kernel) in enumerate(table.detail, 1):
        detail = conv(detail, _channels(full, width), kernel, f"detail_conv{i}")
    x = keras.layers.Concatenate(name="streams")([x, detail])
    for i, (full, kernel) in enumerate(table.join, 1):
        x = conv(x, _channels(full, width), kernel, f"join_conv{i}")
    return _model(feature, inputs, _expand(x, table.image, doublings, width))


def _one_stream(feature: Feature, output_size: Size | None, width: float) -> keras.Model:
    grid, table = _grid_and_table(feature, ONE_STREAM)
    doublings = _doublings(feature, grid, output_size)
    inputs = keras.Input(feature.spec.shape, name="features")
    x = _contract(inputs, table.contract, width)
    strides = [stride for _, _, stride in table.contract]
    x = _expand(x, table.image, doublings + strides.count(2), width)
    return _model(feature, inputs, _crop(x, tuple(side << doublings for side in grid), "crop"))


_BUILDERS = {"two_stream": _two_stream, "one_stream": _one_stream}


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


def _doublings(feature: Feature, grid: Size, output_size: Size | None) -> int:
    """Up-convolutions from the grid to an image of that size, or about that of the feature."""
    size = output_size or feature.image_shape[:2]
    doublings = max(1, round(math.log2(max(size) / max(grid))))
    if output_size is not None and tuple(side << doublings for side in grid) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells makes images of "
            f"{' or '.join(f'{grid[0] << n}×{grid[1] << n}' for n in range(1, 6))}. Received: "
            f"{output_size[0]}×{output_size[1]}"
        )
    return doublings


def _channels(full: int, width: float) -> int:
    return max(1, round(full * width))


def _contract(
    x: keras.KerasTensor, layers: tuple[tuple[int, int, int], ...], width: float
) -> keras.KerasTensor:
    for i, (full, kernel, stride) in enumerate(layers, 1):
        x = conv(x, _channels(full, width), kernel, f"global_conv{i}", stride)
    return x


def _expand(
    x: keras.KerasTensor, image: tuple[int, ...], doublings: int, width: float
) -> keras.KerasTensor:
    for i in range(1, doublings):
        full = image[max(0, i - doublings + len(image))]
        x = upconv(x, _channels(full, width), 5, f"image_upconv{i}")
    return upconv(x, 3, 5, "image", linear=True)


def _crop(x: keras.KerasTensor, size: Size, name: str) -> keras.KerasTensor:
    """Cuts what a side that halved unevenly came back too long."""
    surplus = [(0, grown - side) for grown, side in zip(x.shape[1:3], size, strict=True)]
    return keras.layers.Cropping2D(surplus, name=name)(x) if np.any(surplus) else x


def _model(feature: Feature, inputs: keras.KerasTensor, image: keras.KerasTensor) -> keras.Model:
    return keras.Model(inputs, image, name=f"invert_{feature.name.replace('/', '_')}")
