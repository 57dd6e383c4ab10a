"""The uncertainty head of an inversion network, which predicts a standard deviation per pixel.

The errors of red, green and blue are strongly correlated, but those of brightness and two opponent
colours hardly at all: along these three axes the covariance of a pixel is nearly diagonal, so the
head predicts one variance for each. The head is a separate model on the feature maps before the
image, so that the inversion network stays unchanged.
"""

from typing import NamedTuple

import keras
import numpy as np

from tfinvert.networks.blocks import conv, precision_scope

# Orthonormal rows onto which a pixel's RGB values are projected.
COLOR_AXES = np.array([[1, 1, 1], [1, -1, 0], [-1, -1, 2]], np.float32)
COLOR_AXES /= np.linalg.norm(COLOR_AXES, axis=1, keepdims=True)
COLOR_AXIS_NAMES = ("brightness", "red-green", "blue-yellow")

CHANNELS = 48
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -13.0, 3.0  # standard deviations of 0.0015 and 4.5
_INITIAL_LOG_VARIANCE = -4.0


class UncertaintyHead(NamedTuple):
    """A trained uncertainty head and its calibration.

    Attributes:
      head: a model of `build_head`.
      calibration: factor for the standard deviations along each of `COLOR_AXES`, float32 `[3]`.
    """

    head: keras.Model
    calibration: np.ndarray


def build_head(network: keras.Model, precision: str = "float32") -> keras.Model:
    """Builds the head: two convolutions and an up-convolution like that of the image.

    Args:
      network: an inversion network, from `inversion.build` or loaded.
      precision: see `inversion.build`.

    Returns:
      A functional model from the input of the network's layer "image", of any height and width, to
      the log-variance along each of `COLOR_AXES`, of the size of that layer's output.
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
            bias_initializer=keras.initializers.Constant(_INITIAL_LOG_VARIANCE),
            name="spread",
            dtype="float32",
        )(x)
    return keras.Model(maps, x, name=f"spread_{network.name}")


def attach_head(network: keras.Model, head: keras.Model) -> keras.Model:
    """Combines an inversion network and its head in one model; layers are shared, not copied.

    Args:
      network: an inversion network.
      head: a model of `build_head(network)`.

    Returns:
      A model from standardised features to [image, log-variance]. The log-variance has no gradient
      with respect to the inversion network's weights.
    """
    image = network.get_layer("image")
    tail = network.layers[network.layers.index(image) :]  # "image", and cropping where there is any

    def replace_tail(layer: keras.layers.Layer) -> keras.layers.Layer:
        return keras.layers.Identity() if layer in tail else layer

    trunk = keras.models.clone_model(network, clone_function=replace_tail)
    maps = trunk.output
    outputs = [image(maps), head(keras.ops.stop_gradient(maps))]
    for layer in tail[1:]:
        outputs = [layer(x) for x in outputs]
    return keras.Model(trunk.input, outputs)


def axis_std(log_variance: np.ndarray) -> keras.KerasTensor:
    """Converts the log-variance of a head to standard deviations along `COLOR_AXES`.

    Args:
      log_variance: `[..., 3]`.

    Returns:
      `[..., 3]`, in units of the image.
    """
    return keras.ops.exp(keras.ops.clip(log_variance, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE) / 2)


def rgb_std(axis_deviations: np.ndarray) -> keras.KerasTensor:
    """Converts standard deviations along `COLOR_AXES` to those of red, green and blue.

    Args:
      axis_deviations: `[..., 3]`, from `axis_std`.

    Returns:
      `[..., 3]`, in units of the image.
    """
    variance = keras.ops.square(axis_deviations)
    return keras.ops.sqrt(keras.ops.matmul(variance, np.square(COLOR_AXES)))
