"""What a network says of its own image: how far each pixel may be from the truth.

An image's red, green and blue err together. So what is given is the spread of brightness and of two
opponent colours, whose errors hardly know of each other: in these axes a pixel's covariance is
diagonal. The head is a model of its own, on the last maps before the image, so that the network of
the image stays as it is.
"""

from typing import NamedTuple

import keras
import numpy as np

from tfinvert.networks.blocks import conv, precision_scope

# Orthonormal rows: on them a pixel is projected.
COLOR_AXES = np.array([[1, 1, 1], [1, -1, 0], [-1, -1, 2]], np.float32)
COLOR_AXES /= np.linalg.norm(COLOR_AXES, axis=1, keepdims=True)
COLOR_AXIS_NAMES = ("brightness", "red-green", "blue-yellow")

CHANNELS = 48
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = (
    -13.0,
    3.0,
)  # the logarithm of a variance: deviations of 0.0015 to 4.5
_START = -4.0


class UncertaintyHead(NamedTuple):
    """A trained head, and by what its deviations are to be multiplied.

    Attributes:
      head: of `build_head`.
      calibration: a factor for each of `COLOR_AXES`, float32 `[3]`.
    """

    head: keras.Model
    calibration: np.ndarray


def build_head(network: keras.Model, precision: str = "float32") -> keras.Model:
    """The head for an inversion network: two convolutions and an up-convolution like the image's.

    Args:
      network: of `inversion.build`, or a saved one.
      precision: as `inversion.build`.

    Returns:
      A functional model from the maps that the network's layer "image" gets, of any height and
      width, to the logarithm of the variance along `COLOR_AXES`, of the size that this layer gives.
    """
    image = network.get_layer("image")
    maps = x = keras.Input((None, None, image.kernel.shape[-1]), name="maps")
    with precision_scope(precision):
        for i in (1, 2):
            x = conv(x, CHANNELS, 3, f"spread_conv{i}")
        x = keras.layers.Conv2DTranspose(
            3,
            image.kernel_size,
            image.strides,
            "same",
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(_START),
            name="spread",
            dtype="float32",
        )(x)
    return keras.Model(maps, x, name=f"spread_{network.name}")


def attach_head(network: keras.Model, head: keras.Model) -> keras.Model:
    """From standardised features to the image and, of the same maps, what the head gives.

    The layers are those of both. Nothing of the second output has a gradient in the first's.
    """
    image = network.get_layer("image")
    last = network.layers[network.layers.index(image) :]  # with what crops, if something does

    def without(layer: keras.layers.Layer) -> keras.layers.Layer:
        return keras.layers.Identity() if layer in last else layer

    before = keras.models.clone_model(network, clone_function=without)
    maps = before.output
    outputs = [image(maps), head(keras.ops.stop_gradient(maps))]
    for layer in last[1:]:
        outputs = [layer(x) for x in outputs]
    return keras.Model(before.input, outputs)


def axis_std(log_variance: np.ndarray) -> keras.KerasTensor:
    """Deviations along `COLOR_AXES`, `[..., 3]` in units of the image, of what a head gives."""
    return keras.ops.exp(keras.ops.clip(log_variance, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE) / 2)


def rgb_std(deviations: np.ndarray) -> keras.KerasTensor:
    """Deviations of red, green and blue, `[..., 3]`, of those along `COLOR_AXES`."""
    return keras.ops.sqrt(keras.ops.matmul(keras.ops.square(deviations), np.square(COLOR_AXES)))
