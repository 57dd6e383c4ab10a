"""From a feature to the network that inverts it; the layer tables of the paper as data.

Dosovitskiy & Brox 2016, section 3 and its supplementary tables. The HOG network is a close
approximation: the paper's channels, kernels of ours where we could not read its own.
"""

import dataclasses
import math

import keras

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.networks.upconv import conv, upconv


@dataclasses.dataclass(frozen=True)
class TwoStream:
    """A network for features on a grid: a global stream and a detail stream, joined.

    The global stream contracts the grid to about 4×4 and expands it again, so that every output
    pixel can depend on the whole image; the detail stream stays at the grid's resolution.

    Attributes:
      contract: (channels, kernel, stride) of each convolution of the global stream.
      expand: channels of its up-convolutions, kernel 4; as many as there are strides of 2.
      detail: (channels, kernel) of the detail stream.
      join: (channels, kernel) of the convolutions over both streams together.
      image: channels of the up-convolutions from the grid to the image, the last one excepted,
        which always has 3; kernel 5.
    """

    contract: tuple[tuple[int, int, int], ...]
    expand: tuple[int, ...]
    detail: tuple[tuple[int, int], ...] = ((128, 5), (128, 3))
    join: tuple[tuple[int, int], ...] = ((256, 3), (128, 3))
    image: tuple[int, ...] = (64, 32)


# By the number of halvings from the grid to about 4×4: HOG (cell 8) at 32, 64, 128 and 256 pixels.
# The last is the paper's; the others keep its shape of idea.
HOG = {
    0: TwoStream(((256, 5, 1), (512, 3, 1)), ()),
    1: TwoStream(((256, 5, 2), (512, 3, 1)), (256,)),
    2: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 1)), (512, 256)),
    3: TwoStream(((256, 5, 2), (512, 5, 2), (1024, 3, 2)), (512, 256, 128)),
}


def build(
    feature: Feature, output_size: tuple[int, int] | None = None, width: float = 1.0
) -> keras.Model:
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


def _two_stream(feature: Feature, output_size: tuple[int, int] | None, width: float) -> keras.Model:
    if len(feature.spec.shape) != 3 or min(feature.spec.shape[:2]) < 4:
        raise InputError(
            f"a two-stream inversion network takes features [rows, columns, channels] of at least "
            f"4×4 cells. Received: {feature.name} with {list(feature.spec.shape)}"
        )
    grid = tuple(feature.spec.shape[:2])
    table = HOG[min(max(HOG), int(math.log2(min(grid) / 4)))]
    doublings = _doublings(feature, grid, output_size or feature.image_shape[:2])
    if output_size is not None and tuple(side << doublings for side in grid) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells makes images of "
            f"{' or '.join(f'{grid[0] << n}×{grid[1] << n}' for n in range(1, 6))}. Received: "
            f"{output_size[0]}×{output_size[1]}"
        )

    def channels(full: int) -> int:
        return max(1, round(full * width))

    inputs = keras.Input(feature.spec.shape, name="features")
    x = inputs
    for i, (full, kernel, stride) in enumerate(table.contract, 1):
        x = conv(x, channels(full), kernel, f"global_conv{i}", stride)
    for i, full in enumerate(table.expand, 1):
        x = upconv(x, channels(full), 4, f"global_upconv{i}")
    if tuple(x.shape[1:3]) != grid:  # a side that halves unevenly comes back a little longer
        surplus = [(0, grown - side) for grown, side in zip(x.shape[1:3], grid, strict=True)]
        x = keras.layers.Cropping2D(surplus, name="global_crop")(x)
    detail = inputs
    for i, (full, kernel) in enumerate(table.detail, 1):
        detail = conv(detail, channels(full), kernel, f"detail_conv{i}")
    x = keras.layers.Concatenate(name="streams")([x, detail])
    for i, (full, kernel) in enumerate(table.join, 1):
        x = conv(x, channels(full), kernel, f"join_conv{i}")
    for i in range(1, doublings):
        full = table.image[i - 1] if i <= len(table.image) else table.image[-1]
        x = upconv(x, channels(full), 5, f"image_upconv{i}")
    image = upconv(x, 3, 5, "image", linear=True)
    return keras.Model(inputs, image, name=f"invert_{feature.name.replace('/', '_')}")


def _doublings(feature: Feature, grid: tuple[int, ...], size: tuple[int, ...]) -> int:
    """Up-convolutions from the grid to an image of about that size, at least one."""
    return max(1, round(math.log2(max(size) / max(grid))))


_BUILDERS = {"two_stream": _two_stream}
