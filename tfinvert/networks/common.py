"""What the designs of inversion networks have in common: what they ask of a feature, and checks."""

import math
from typing import Any, Protocol

import keras
import numpy as np

from tfinvert.errors import InputError

Size = tuple[int, int]

# The smallest side of images that are rebuilt at the paper's own sizes (up to 216 pixels).
_PAPER_SIZE = 192


class Feature(Protocol):
    """What is asked of a feature here: these attributes of `features.base.Feature`."""

    name: str
    image_shape: tuple[int, int, int]
    decoder: str

    @property
    def spec(self) -> Any:
        """With the `shape` of one image's feature."""


def num_upsamplings(feature: Feature, output_size: Size | None) -> int:
    """Up-convolutions from the grid to an image of that size, or about that of the feature."""
    grid = tuple(feature.spec.shape[:2])
    size = output_size or feature.image_shape[:2]
    doublings = max(1, round(math.log2(max(size) / max(grid))))
    if output_size is not None and tuple(side << doublings for side in grid) != tuple(output_size):
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells makes images of "
            f"{' or '.join(f'{grid[0] << n}×{grid[1] << n}' for n in range(1, 6))}. Received: "
            f"{output_size[0]}×{output_size[1]}"
        )
    return doublings


def choose_initial_grid(feature: Feature, output_size: Size | None) -> tuple[Size, int]:
    """The grid that doublings of a network's layer start from, its own or little more, and their
    number."""
    grid = tuple(feature.spec.shape[:2])
    size = output_size or feature.image_shape[:2]
    most = max(1, math.floor(math.log2(min(np.divide(size, grid)))))
    for doublings in range(most, 0, -1) if output_size else [most]:
        start = tuple(side >> doublings for side in size)
        fits = (
            all(side % (1 << doublings) == 0 for side in size)
            and min(np.subtract(start, grid)) >= 0
        )
        if fits and (output_size or min(size) < _PAPER_SIZE):
            return start, doublings
    if output_size:
        raise InputError(
            f"the network for {feature.name} on {grid[0]}×{grid[1]} cells makes images of even "
            f"sides from {2 * grid[0]}×{2 * grid[1]}. Received: {output_size[0]}×{output_size[1]}"
        )
    return grid, max(1, round(math.log2(min(np.divide(size, grid)))))


def scale_channels(full: int, width: float) -> int:
    """Channels of a network of that width; at least one."""
    return max(1, round(full * width))


def named_model(
    feature: Feature, inputs: keras.KerasTensor, image: keras.KerasTensor
) -> keras.Model:
    """From features to images, named after the feature."""
    return keras.Model(inputs, image, name=f"invert_{feature.name.replace('/', '_')}")
