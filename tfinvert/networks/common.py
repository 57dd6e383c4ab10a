"""What the designs of inversion networks have in common: what they ask of a feature, and checks."""

import math
from typing import Any, Protocol

import keras

from tfinvert.errors import InputError

Size = tuple[int, int]


class Feature(Protocol):
    """What is asked of a feature here: these attributes of `features.base.Feature`."""

    name: str
    image_shape: tuple[int, int, int]
    decoder: str

    @property
    def spec(self) -> Any:
        """With the `shape` of one image's feature."""


def no_units(feature: Feature, units: int) -> None:
    """Raises InputError if units are asked of a network without fully connected layers."""
    if units:
        raise InputError(
            f"the network for {feature.name} has no fully connected layers that could take units. "
            f"Received: {units}"
        )


def doublings_to_image(feature: Feature, grid: Size, output_size: Size | None) -> int:
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


def scaled(full: int, width: float) -> int:
    """Channels of a network of that width; at least one."""
    return max(1, round(full * width))


def model(feature: Feature, inputs: keras.KerasTensor, image: keras.KerasTensor) -> keras.Model:
    """From features to images, named after the feature."""
    return keras.Model(inputs, image, name=f"invert_{feature.name.replace('/', '_')}")
