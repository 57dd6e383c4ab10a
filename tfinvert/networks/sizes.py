"""What an inversion network makes of grids of any size."""

import json
import math
import re
from fractions import Fraction

import keras

from tfinvert.networks.any_size import ANY_SIZE_LAYERS


def accepts_any_size(network: keras.Model) -> bool:
    """Whether a network for a grid of one size has no layer that asks for that size."""
    return all(type(layer).__name__ in ANY_SIZE_LAYERS for layer in network.layers)


def with_input_size(network: keras.Model, grid: tuple[int | None, int | None]) -> keras.Model:
    """The same layers, with the same weights, for grids of another size: see `accepts_any_size`.

    Args:
      network: for a grid.
      grid: its (rows, columns); None for any.
    """
    features = keras.Input((*grid, network.input_shape[-1]), name="features")
    return keras.models.clone_model(network, features, clone_function=lambda layer: layer)


def total_stride(network: keras.Model) -> int:
    """What both sides of a grid must be a multiple of: the product of all strides."""
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    transposed = keras.layers.Conv2DTranspose
    return math.prod(
        layer.strides[0] for layer in convolutions if not isinstance(layer, transposed)
    )


def receptive_field_radius(network: keras.Model) -> int:
    """Cells, of its input, further from which nothing has an influence on a pixel."""
    units: dict[str, Fraction] = {}  # cells along an element of what a layer gives
    reaches: dict[str, list[Fraction]] = {}  # down and across
    for config in network.get_config()["layers"]:
        name, layer = config["name"], network.get_layer(config["name"])
        parents = re.findall(
            r'"keras_history": \["([^"]+)"', json.dumps(config["inbound_nodes"], default=str)
        )
        unit = units[parents[0]] if parents else Fraction(1)
        elements, growth = _of_layer(layer)
        before = [reaches[parent] for parent in parents] or [[Fraction(0)] * 2]
        reaches[name] = [
            max(axis) + unit * more
            for axis, more in zip(zip(*before, strict=True), elements, strict=True)
        ]
        units[name] = unit * growth
    return math.ceil(max(max(axes) for axes in reaches.values()))


def _of_layer(layer: keras.layers.Layer) -> tuple[tuple[int, int], Fraction]:
    """Elements of its input that a layer reaches, down and across, and how theirs grow."""
    if isinstance(layer, keras.layers.Conv2DTranspose):
        stride = layer.strides[0]
        more = math.ceil((layer.kernel_size[0] - stride) / (2 * stride))
        return (more, more), Fraction(1, stride)
    if isinstance(layer, keras.layers.Conv2D):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        # With a stride, what is padded on both sides differs.
        more = kernel // 2 if stride == 1 else kernel - 1
        return (more, more), Fraction(stride)
    if isinstance(layer, keras.layers.AveragePooling2D):
        return tuple(window // 2 for window in layer.pool_size), Fraction(1)
    return (0, 0), Fraction(1)
