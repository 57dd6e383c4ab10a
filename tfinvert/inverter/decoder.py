"""Decodes features into images and standard deviations, on `keras.ops`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.networks import sizes
from tfinvert.networks.uncertainty import UncertaintyHead, attach_head, axis_std

DecodeFunction = Callable[[Tensor], Any]


class Decoder:
    """A feature with its standardisation and inversion network, as functions of tensors.

    The functions can be compiled and, on TensorFlow, exported.

    Attributes:
      feature: the representation Φ that is inverted.
      standardization: mean and scale that features are standardised with.
      network: Keras model from standardised features to images.
      uncertainty_head: model of the per-pixel standard deviation, or None.

    Raises:
      InputError: the network's input shape is not the shape of the feature.
    """

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization,
        network: keras.Model,
        uncertainty_head: UncertaintyHead | None = None,
    ):
        if tuple(network.input_shape[1:]) != tuple(feature.spec.shape):
            raise InputError(
                f"the network does not fit the feature {feature.name}, whose shape is "
                f"{feature.spec.shape}; build it for that shape. Received: a network for features "
                f"of shape {network.input_shape[1:]}"
            )
        self.feature = feature
        self.standardization = standardization
        self.network = network
        self.uncertainty_head = uncertainty_head

    @functools.cached_property
    def any_size(self) -> bool:
        """True if the feature and the network accept images of any size of at least one cell."""
        return bool(self.feature.cell_size) and sizes.accepts_any_size(self.network)

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the reconstruction of an image of `feature.image_shape`."""
        return tuple(self.network.output_shape[1:3])

    @functools.cached_property
    def grid_multiple(self) -> int:
        """Number of cells that both sides of a grid must be divisible by, if `any_size`."""
        return sizes.total_stride(self.network)

    @property
    def size_multiple(self) -> int:
        """Number of pixels that image sides are padded to a multiple of, if `any_size`."""
        return self.feature.cell_size * self.grid_multiple

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that `decode` and `decode_with_std` read."""
        head = self.uncertainty_head
        return [*self.network.variables, *(head.head.variables if head else ())]

    @property
    def scale(self) -> int:
        """Output pixels per cell side."""
        return self.output_size[0] // self.feature.spec.shape[0]

    @functools.cached_property
    def receptive_field_radius(self) -> int:
        """Receptive-field radius in cells, including that of the uncertainty head."""
        radius = sizes.receptive_field_radius(self.network)
        if self.uncertainty_head:  # whose own convolutions widen it
            radius += sizes.receptive_field_radius(self.uncertainty_head.head)
        return radius

    @functools.cached_property
    def any_size_network(self) -> keras.Model:
        """The network for grids of any size, with the same weights."""
        return sizes.with_input_size(self.network, (None, None))

    def at(self, size: Sequence[int]) -> "Decoder":
        """Returns the decoder for images of another (height, width), with the same weights.

        Raises:
          InputError: only one size is supported, or the sides are not multiples of
            `size_multiple`.
        """
        name = self.feature.name
        if not self.any_size:
            self.feature.at(size)  # raises an error of its own if the feature is the reason
            height, width = self.feature.image_shape[:2]
            raise InputError(
                f"the network of this {name} inverter supports one image size, {height}×{width} "
                f"pixels. Received: {size[0]}×{size[1]}"
            )
        if any(side % self.size_multiple or side < 1 for side in size):
            raise InputError(
                f"height and width for this {name} inverter must be multiples of "
                f"{self.size_multiple}. Received: {size[0]}×{size[1]}"
            )
        feature = self.feature.at(size)
        network = sizes.with_input_size(self.network, tuple(feature.spec.shape[:2]))
        return Decoder(feature, self.standardization, network, self.uncertainty_head)

    def decode(self, features: Tensor) -> Tensor:
        """Decodes features: `[B, *feature.spec.shape]` becomes `[B, *output_size, 3]` in [0, 1].

        If `any_size`, grids `[B, h, w, channels]` of other sizes are accepted too.
        """
        network = self.network if self._has_own_shape(features) else self.any_size_network
        return _to_image(network(self.standardization(features), training=False))

    def decode_with_std(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Decodes features into images, as `decode`, and their standard deviations.

        Standard deviations are along `networks.uncertainty.COLOR_AXES`.

        Raises:
          InputError: the inverter has no uncertainty head.
        """
        own = self._has_own_shape(features)
        network = self._uncertainty_network if own else self._any_size_uncertainty_network
        image, log_variance = network(self.standardization(features), training=False)
        std = axis_std(ops.cast(log_variance, "float32")) * self.uncertainty_head.calibration
        return _to_image(image), std

    def decode_std(self, features: Tensor) -> Tensor:
        """Returns the standard deviations of `decode_with_std`."""
        return self.decode_with_std(features)[1]

    def reconstruct(self, images: Tensor, decode: DecodeFunction | None = None) -> Any:
        """Computes the feature of images and decodes it, as a whole and without tiles.

        Args:
          images: `[B, *feature.image_shape]` or, if `any_size`, `[B, H, W, 3]`.
          decode: applied to the features; `decode_with_std` gives standard deviations too. By
            default `decode`.

        Returns:
          The result of `decode`, cropped to the size of the images.
        """
        decode = decode or self.decode
        if not self.any_size:
            return decode(self.feature(images))
        height, width = ops.shape(images)[1:3]
        bottom, right = (-side % self.size_multiple for side in (height, width))
        padded = ops.pad(images, [(0, 0), (0, bottom), (0, right), (0, 0)], "symmetric")
        decoded = decode(self.feature.compute(padded))
        return keras.tree.map_structure(lambda image: image[:, :height, :width], decoded)

    def require_uncertainty(self) -> None:
        """Checks that there is an uncertainty head.

        Raises:
          InputError: there is none.
        """
        if self.uncertainty_head is None:
            raise InputError(
                f"this {self.feature.name} inverter has no uncertainty head; retrain with "
                "--uncertainty=joint, or add one with --init_from=INVERTER --uncertainty=frozen"
            )

    @functools.cached_property
    def _uncertainty_network(self) -> keras.Model:
        self.require_uncertainty()
        return attach_head(self.network, self.uncertainty_head.head)

    @functools.cached_property
    def _any_size_uncertainty_network(self) -> keras.Model:
        self.require_uncertainty()
        return attach_head(self.any_size_network, self.uncertainty_head.head)

    def _has_own_shape(self, features: Tensor) -> bool:
        """Returns whether the network itself takes the features, or has to reject them."""
        return tuple(features.shape[1:]) == tuple(self.feature.spec.shape) or not self.any_size


def _to_image(values: Tensor) -> Tensor:
    return ops.clip(ops.cast(values, "float32"), 0.0, 1.0)
