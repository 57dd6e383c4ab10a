"""LPIPS, a metric that follows what people call similar (Zhang et al. 2018, version 0.1).

Both images go through AlexNet's convolutions. At every place a layer's values are divided by their
norm; the squared differences, weighted by channel, are averaged over the image and added up over
five layers. The weights were fitted to people's judgments by its authors; they ship here.
"""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks import weights as weight_files
from tfinvert.networks.weights.lpips import read_channel_weights

MIN_SIDE = 31  # pixels; less leaves conv3 no place
MIN_SIDE_POOL5 = 63
_PIXELS = 1 << 22  # that are measured at once
_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
_TINY = 1e-20  # a place where nothing is active has a norm of 0, and a derivative


class LPIPS:
    """The distance between images of one size; the smaller, the more alike they look.

    Args:
      size: (height, width), at least 31 pixels each.

    Raises:
      InputError: the size is too small, or the weights do not come with this installation.
    """

    def __init__(self, size: tuple[int, int]):
        network = build_alexnet_trunk(size)
        outputs = [network.get_layer(name).output for name in _LAYERS]
        self._model = keras.Model(network.input, outputs)
        self._weights = read_channel_weights()

    def __call__(self, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Two of `[B, H, W, 3]` in [0, 1] become `[B]`; differentiable."""
        pairs = zip(self.layers(images), self.layers(others), self._weights, strict=True)
        return tf.add_n([layer_distance(*pair) for pair in pairs])

    def layers(self, images: tf.Tensor) -> list[tf.Tensor]:
        """relu1 … relu5 of `[B, H, W, 3]` in [0, 1], each `[B, h, w, channels]`."""
        return self._model(images, training=False)


def layer_distance(
    values: tf.Tensor, others: tf.Tensor, weights: np.ndarray | None = None
) -> tf.Tensor:
    """Squared differences of values over their norm, summed over channels, averaged over places.

    Args:
      values: `[B, …, C]`, of a layer.
      others: of the same shape.
      weights: `[C]`; None weighs all channels by 1.

    Returns:
      `[B]`.
    """
    squares = tf.square(_normalized(values) - _normalized(others))
    summed = tf.reduce_sum(squares if weights is None else squares * weights, -1)
    return tf.reduce_mean(tf.reshape(summed, (tf.shape(summed)[0], -1)), 1)


def build_alexnet_trunk(size: tuple[int, int]) -> keras.Model:
    """The convolutions of the AlexNet that ships, for images in [0, 1], at their own size.

    It ends with pool5 or, below 63 pixels, which leave that nothing, with relu5.

    Raises:
      InputError: images are smaller than 31 pixels.
    """
    check_size(size)
    model = alexnet.build(
        "torchvision", size, size, units=None, last_pool=min(size) >= MIN_SIDE_POOL5
    )
    weight_files.assign(model, weight_files.read(weight_files.find("compact")))
    return model


def check_size(size: tuple[int, int]) -> None:
    """Whether (height, width) is large enough for AlexNet's convolutions.

    Raises:
      InputError: a side has less than 31 pixels.
    """
    if min(size) < MIN_SIDE:
        raise InputError(
            f"AlexNet's convolutions take images of at least {MIN_SIDE}×{MIN_SIDE} pixels. "
            f"Received: {size[0]}×{size[1]}"
        )


def lpips(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """The mean LPIPS between two of `[n, H, W, 3]` in [0, 1]; sides of at least 31 pixels.

    Raises:
      InputError: the images are smaller.
    """
    height, width = images.shape[1:3]
    measure, count = _compiled((height, width)), max(1, min(64, _PIXELS // (height * width)))
    values = [
        measure(*(tf.constant(x[i : i + count], tf.float32) for x in (images, reconstructions)))
        for i in range(0, len(images), count)
    ]
    return float(np.concatenate(values).mean())


@functools.lru_cache(maxsize=2)
def _compiled(size: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    images = tf.TensorSpec((None, *size, 3), tf.float32)
    return tf.function(LPIPS(size).__call__, input_signature=(images, images))


def _normalized(values: tf.Tensor) -> tf.Tensor:
    return values * tf.math.rsqrt(tf.reduce_sum(tf.square(values), -1, keepdims=True) + _TINY)
