"""Input sizes, total stride and receptive field of fully convolutional inversion networks."""

import math
from fractions import Fraction

import keras

from tfinvert.networks.any_size import ANY_SIZE_LAYERS


def accepts_any_size(network: keras.Model) -> bool:
    """Returns whether all layers of a network for a grid also accept grids of other sizes."""
    return all(type(layer).__name__ in ANY_SIZE_LAYERS for layer in network.layers)


def with_input_size(network: keras.Model, grid: tuple[int | None, int | None]) -> keras.Model:
    """Rebuilds a network for another grid size; layers and weights are shared, not copied.

    Args:
      network: a network for a grid, which satisfies `accepts_any_size`.
      grid: (rows, columns) of the new input; None for any number.
    """
    features = keras.Input((*grid, network.input_shape[-1]), name="features")
    return keras.models.clone_model(network, features, clone_function=lambda layer: layer)


def total_stride(network: keras.Model) -> int:
    """Multiplies the strides of all convolutions; both sides of a grid must be multiples of it."""
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    transposed = keras.layers.Conv2DTranspose
    return math.prod(
        layer.strides[0] for layer in convolutions if not isinstance(layer, transposed)
    )


def receptive_field_radius(network: keras.Model) -> int:
    """Computes the receptive-field radius of the output pixels, in input cells.

    No cell further than this from a pixel's own cell influences the pixel.
    """
    # By tensor: cells per element, and the radii in cells along rows and columns. Where a layer is
    # shared by several models (see `with_input_size`), its input and output are those of the first
    # model, which has the same structure.
    steps: dict[int, Fraction] = {}
    radii: dict[int, list[Fraction]] = {}
    for layer in network.layers:
        inputs = [id(x) for x in keras.tree.flatten(layer.input) if id(x) in radii]
        step = steps[inputs[0]] if inputs else Fraction(1)
        input_radii = [radii[x] for x in inputs] or [[Fraction(0)] * 2]
        layer_radii, step_ratio = _layer_geometry(layer)
        output = id(layer.output)
        radii[output] = [
            max(axis) + step * radius
            for axis, radius in zip(zip(*input_radii, strict=True), layer_radii, strict=True)
        ]
        steps[output] = step * step_ratio
    return math.ceil(max(max(axes) for axes in radii.values()))


def _layer_geometry(layer: keras.layers.Layer) -> tuple[tuple[int, int], Fraction]:
    """Returns a layer's radii along rows and columns, and its step; both in input elements."""
    if isinstance(layer, keras.layers.Conv2DTranspose):
        stride = layer.strides[0]
        radius = math.ceil((layer.kernel_size[0] - stride) / (2 * stride))
        return (radius, radius), Fraction(1, stride)
    if isinstance(layer, keras.layers.Conv2D):
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        # A strided convolution may be padded differently on its two sides.
        radius = kernel // 2 if stride == 1 else kernel - 1
        return (radius, radius), Fraction(stride)
    if isinstance(layer, keras.layers.AveragePooling2D):
        return tuple(window // 2 for window in layer.pool_size), Fraction(1)
    return (0, 0), Fraction(1)
