"""Grid sizes, channel counts and the feature interface shared by all inversion networks."""

import math
import re
from typing import Any, Protocol

import keras
import numpy as np

from tfinvert.errors import InputError

Size = tuple[int, int]

# Images below this side, in pixels, are reconstructed at their own size, larger ones at the
# paper's sizes (up to 216 pixels).
_MIN_PAPER_SIZE = 192


class Feature(Protocol):
    """The attributes of `features.base.Feature` that the networks read."""

    name: str
    image_shape: tuple[int, int, int]
    decoder: str

    @property
    def spec(self) -> Any:
        """A tensor spec whose `shape` is that of one image's feature."""


def num_upsamplings(feature: Feature, output_size: Size | None) -> int:
    """Counts the ×2 up-convolutions from a feature's grid to the output image.

    Args:
      feature: a feature on a grid.
      output_size: (height, width) of the output image, in pixels; None for the closest size to
        the feature's images that the up-convolutions can produce.

    Raises:
      InputError: the network cannot produce `output_size`.
    """
    grid = tuple(feature.spec.shape[:2])
    size = output_size or feature.image_shape[:2]
    upsamplings = max(1, round(math.log2(max(size) / max(grid))))
    if output_size is not None and tuple(n << upsamplings for n in grid) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells produces images of "
            f"{' or '.join(f'{grid[0] << n}×{grid[1] << n}' for n in range(1, 6))}. "
            f"Received: {output_size[0]}×{output_size[1]}"
        )
    return upsamplings


def choose_initial_grid(feature: Feature, output_size: Size | None) -> tuple[Size, int]:
    """Chooses the grid that the up-convolutions start from, and counts the up-convolutions.

    The initial grid is the feature's own grid or a slightly larger one.

    Args:
      feature: a feature map of a network.
      output_size: (height, width) of the output image, in pixels; None for the feature's own
        image size, or a size of the paper's where that is close.

    Returns:
      The (rows, columns) of the initial grid, and the number of ×2 up-convolutions.

    Raises:
      InputError: no initial grid leads to `output_size`.
    """
    grid = tuple(feature.spec.shape[:2])
    size = output_size or feature.image_shape[:2]
    most = max(1, math.floor(math.log2(min(np.divide(size, grid)))))
    for upsamplings in range(most, 0, -1) if output_size else [most]:
        initial = tuple(side >> upsamplings for side in size)
        fits = (
            all(side % (1 << upsamplings) == 0 for side in size)
            and min(np.subtract(initial, grid)) >= 0
        )
        if fits and (output_size or min(size) < _MIN_PAPER_SIZE):
            return initial, upsamplings
    if output_size:
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells produces images with "
            f"even sides from {2 * grid[0]}×{2 * grid[1]} up. "
            f"Received: {output_size[0]}×{output_size[1]}"
        )
    return grid, max(1, round(math.log2(min(np.divide(size, grid)))))


def scale_channels(channels: int, width: float) -> int:
    """Multiplies a channel count by the width multiplier; the result is at least 1."""
    return max(1, round(channels * width))


def named_model(
    feature: Feature, inputs: keras.KerasTensor, image: keras.KerasTensor
) -> keras.Model:
    """Makes a functional model from features to images, named after the feature."""
    return keras.Model(inputs, image, name=model_name("invert", feature))


def model_name(verb: str, feature: Feature) -> str:
    """The name of a model of a feature, of the characters that TensorFlow allows in names."""
    return f"{verb}_{re.sub('[^A-Za-z0-9_.-]', '_', feature.name)}"
