"""Runs a decoder on arrays: cached graphs, batches and, for large images, tiles."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.inverter import tiling, validation
from tfinvert.inverter.decoder import DecodeFunction, Decoder


class Predictor:
    """Encodes, decodes and reconstructs arrays of any number of images.

    It owns the traced graphs. A graph keeps the weights as variables, so it follows a network in
    training, but the calibration of the uncertainty head as a constant.

    Attributes:
      decoder: the functions that are run.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder
        self._graphs: dict[tuple[DecodeFunction, bool], Callable[..., tf.Tensor]] = {}

    def encode(self, images: Any) -> Any:
        """Images → features; see `Inverter.encode`."""
        images = validation.check_images(self.decoder.feature, images, self.decoder.any_size)
        if isinstance(images, list):
            return [self._encode(image[np.newaxis])[0] for image in images]
        return self._encode(images)

    def reconstruct(self, images: Any) -> Any:
        """Images → features → images; see `Inverter.reconstruct`."""
        images = validation.check_images(self.decoder.feature, images, self.decoder.any_size)
        if isinstance(images, list):
            return [self._reconstruct(image[np.newaxis])[0] for image in images]
        return self._reconstruct(images)

    def decode(self, features: Any, decode: DecodeFunction | None = None) -> Any:
        """Features → images, or whatever a function of the decoder computes.

        Args:
          features: an array or, if the decoder accepts any size, also a list.
          decode: `decoder.decode` or `decoder.decode_std`; by default the former.

        Raises:
          InputError: the features have the wrong shape.
        """
        decoder, decode = self.decoder, decode or self.decoder.decode
        feature = decoder.feature
        if isinstance(features, (list, tuple)) and decoder.any_size:
            return [self.decode(np.asarray(one)[np.newaxis], decode)[0] for one in features]
        features = validation.to_float_array(feature, features)
        network = decoder.any_size_network if decoder.any_size else decoder.network
        validation.check_features(feature, features, network.input_shape[1:])
        if features.shape[1:] == feature.spec.shape:
            graph = self.graph(decode)
            return tiling.run_in_batches(graph, features, (*decoder.output_size, 3))
        if any(side % decoder.grid_multiple or not side for side in features.shape[1:3]):
            raise InputError(
                f"both sides of {feature.name} features must be multiples of "
                f"{decoder.grid_multiple} for this network. Received: {features.shape}"
            )
        size = tuple(side * decoder.scale for side in features.shape[1:3])

        def decode_batch(batch: np.ndarray) -> Any:
            return self._decode_any_size(batch, decode)

        return tiling.run_in_batches(
            decode_batch, features, (*size, 3), tiling.batch_size_for(size)
        )

    def graph(self, decode: DecodeFunction, any_size: bool = False) -> Callable[..., tf.Tensor]:
        """Traces a function of the decoder once, for batches of any length."""
        key = decode, any_size
        if key not in self._graphs:
            network = self.decoder.any_size_network if any_size else self.decoder.network
            spec = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)
            self._graphs[key] = tf.function(decode).get_concrete_function(spec)
        return self._graphs[key]

    @functools.cached_property
    def _compute_any_size(self) -> Callable[..., tf.Tensor]:
        """The graph of an in-graph feature, for images of any size."""
        spec = tf.TensorSpec((None, None, None, 3), tf.float32)
        return tf.function(self.decoder.feature.compute).get_concrete_function(spec)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        feature = self.decoder.feature
        if self._has_own_shape(images):
            return tiling.run_in_batches(feature, images, feature.spec.shape)
        multiple = self.decoder.size_multiple
        size = tuple(side + -side % multiple for side in images.shape[1:3])
        cells = (side // feature.cell_size for side in size)
        shape = (*cells, feature.spec.shape[-1])
        return tiling.run_in_batches(
            self._encode_any_size, images, shape, tiling.batch_size_for(size)
        )

    def _reconstruct(self, images: np.ndarray) -> np.ndarray:
        decoder = self.decoder
        if self._has_own_shape(images):

            def reconstruct(batch: np.ndarray) -> tf.Tensor:
                return self.graph(decoder.decode)(decoder.feature(batch))

            return tiling.run_in_batches(reconstruct, images, (*decoder.output_size, 3))
        height, width = images.shape[1:3]

        def reconstruct_any_size(batch: np.ndarray) -> np.ndarray:
            image = self._decode_any_size(self._encode_any_size(batch), decoder.decode)
            return np.asarray(image)[:, :height, :width]

        return tiling.run_in_batches(
            reconstruct_any_size, images, images.shape[1:], tiling.batch_size_for((height, width))
        )

    def _encode_any_size(self, images: np.ndarray) -> Any:
        """Computes the feature of a batch of images of any size, in bands if they are large."""
        feature = self.decoder.feature
        images = tiling.pad_to_multiple(images, self.decoder.size_multiple)
        size = images.shape[1:3]
        compute = self._compute_any_size if feature.in_graph else feature.at(size)
        if math.prod(size) <= tiling.MAX_TILE_PIXELS:
            return compute(images)
        cell_size, radius = feature.cell_size, feature.receptive_field_radius
        return np.stack(
            [tiling.compute_feature_tiled(compute, image, cell_size, radius) for image in images]
        )

    def _decode_any_size(self, features: Any, decode: DecodeFunction) -> Any:
        """Decodes a batch of grids of any size, in tiles if the images are large."""
        decoder, graph = self.decoder, self.graph(decode, any_size=True)
        if math.prod(features.shape[1:3]) * decoder.scale**2 <= tiling.MAX_TILE_PIXELS:
            return graph(features)
        radius, multiple = decoder.receptive_field_radius, decoder.grid_multiple
        return np.stack(
            [
                tiling.decode_tiled(graph, grid, decoder.scale, radius, multiple)
                for grid in np.asarray(features)
            ]
        )

    def _has_own_shape(self, images: np.ndarray) -> bool:
        """Returns whether images have the feature's shape, or are for the feature to reject."""
        return images.shape[1:] == self.decoder.feature.image_shape or not self.decoder.any_size
