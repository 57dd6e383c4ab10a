"""LPIPS, a learned perceptual distance (Zhang et al. 2018, version 0.1, AlexNet).

Both images pass through AlexNet's convolutions. The activations at each position of a layer are
normalised to unit length over channels; their squared differences, weighted per channel, are
averaged over positions and summed over five layers. The channel weights are those that the authors
fitted to human judgments; they ship with the package.
"""

import functools
import operator
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, compile_function, default_settings
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks import weights as weight_files
from tfinvert.networks.weights.lpips import read_channel_weights

MIN_SIDE = 31  # pixels; smaller images leave no position in conv3
MIN_SIDE_POOL5 = 63  # pixels
_MAX_PIXELS = 1 << 22  # compared at once
_MAX_BATCH_SIZE = 64
_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
_EPSILON = 1e-20  # keeps the gradient finite where all activations of a position are 0


class LPIPS:
    """The LPIPS distance between images of one size; smaller is more similar.

    Attributes:
      channel_weights: for each of the five layers `[channels]`.
      variables: the weights of the network.
    """

    @default_settings
    def __init__(self, size: tuple[int, int]):
        """Builds the network.

        Args:
          size: (height, width), at least 31 pixels each.

        Raises:
          InputError: the size is too small, or the weights are missing from this installation.
        """
        network = build_alexnet_trunk(size)
        outputs = [network.get_layer(name).output for name in _LAYERS]
        self._model = keras.Model(network.input, outputs)
        self.variables = self._model.variables
        self.channel_weights = read_channel_weights()

    @default_settings
    def __call__(self, images: Tensor, others: Tensor) -> Tensor:
        """Compares two batches `[B, H, W, 3]` in [0, 1]: `[B]`, differentiable."""
        layers = zip(self.layers(images), self.layers(others), self.channel_weights, strict=True)
        return functools.reduce(operator.add, (layer_distance(*layer) for layer in layers))

    def layers(self, images: Tensor) -> list[Tensor]:
        """Returns relu1 to relu5 of `[B, H, W, 3]` in [0, 1], each `[B, h, w, channels]`."""
        return self._model(images, training=False)


def layer_distance(values: Tensor, others: Tensor, weights: np.ndarray | None = None) -> Tensor:
    """Squared difference of unit-length activations, summed over channels, averaged over positions.

    Args:
      values: `[B, …, C]`, activations of a layer.
      others: `[B, …, C]`.
      weights: `[C]`; None weights all channels by 1.

    Returns:
      `[B]`.
    """
    squares = ops.square(_normalize_channels(values) - _normalize_channels(others))
    summed = ops.sum(squares if weights is None else squares * weights, -1)
    return ops.mean(ops.reshape(summed, (ops.shape(summed)[0], -1)), 1)


def build_alexnet_trunk(size: tuple[int, int]) -> keras.Model:
    """Builds the convolutions of the shipped AlexNet, for images in [0, 1] of one size.

    The network ends with pool5, or with relu5 below 63 pixels, where pool5 would be empty.

    Raises:
      InputError: a side has fewer than 31 pixels.
    """
    check_size(size)
    pool5 = min(size) >= MIN_SIDE_POOL5
    model = alexnet.build("torchvision", size, size, units=None, last_pool=pool5)
    weight_files.assign(model, weight_files.read(weight_files.find("compact")))
    return model


def check_size(size: tuple[int, int]) -> None:
    """Checks that (height, width) is large enough for AlexNet's convolutions.

    Raises:
      InputError: a side has fewer than 31 pixels.
    """
    if min(size) < MIN_SIDE:
        raise InputError(
            f"images for AlexNet's convolutions must have at least {MIN_SIDE}×{MIN_SIDE} pixels. "
            f"Received: {size[0]}×{size[1]}"
        )


@default_settings
def lpips(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Mean LPIPS between two arrays `[n, H, W, 3]` in [0, 1].

    Raises:
      InputError: a side has fewer than 31 pixels.
    """
    height, width = images.shape[1:3]
    distance = _compile_lpips((height, width))
    batch_size = max(1, min(_MAX_BATCH_SIZE, _MAX_PIXELS // (height * width)))
    values = []
    for begin in range(0, len(images), batch_size):
        batch = slice(begin, begin + batch_size)
        pair = (ops.convert_to_tensor(x[batch], "float32") for x in (images, reconstructions))
        values.append(ops.convert_to_numpy(distance(*pair)))
    return float(np.concatenate(values).mean())


@functools.lru_cache(maxsize=2)
def _compile_lpips(size: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    metric = LPIPS(size)
    return compile_function(metric.__call__, [(None, *size, 3)] * 2, metric.variables)


def _normalize_channels(values: Tensor) -> Tensor:
    return values * ops.rsqrt(ops.sum(ops.square(values), -1, keepdims=True) + _EPSILON)
