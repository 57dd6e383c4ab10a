"""Runs a decoder on arrays: compiled functions, batches and, for large images, tiles."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, compile_function
from tfinvert.errors import InputError
from tfinvert.inverter import tiling
from tfinvert.inverter.decoder import DecodeFunction, Decoder
from tfinvert.inverter.inputs import read_features, read_images


class Predictor:
    """Encodes, decodes and reconstructs arrays of any number of images.

    It owns the compiled functions. They read the weights at every call, so they follow a network in
    training, but hold the calibration of the uncertainty head as a constant.

    Attributes:
      decoder: the functions that are run.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder
        self._compiled: dict[tuple[DecodeFunction, bool], Callable[..., Tensor]] = {}

    def encode(self, images: Any, any_size: bool = True) -> Any:
        """Images → features; see `Inverter.encode`.

        Args:
          images: as `Inverter.encode` accepts them.
          any_size: see `read_images`.
        """
        return read_images(self.decoder, images, any_size).map(self._encode)

    def reconstruct(self, images: Any, decode: DecodeFunction | None = None) -> Any:
        """Images → features → images, or whatever a function of the decoder computes.

        Args:
          images: as `Inverter.encode` accepts them.
          decode: see `decode`.
        """
        decode = decode or self.decoder.decode
        batch = read_images(self.decoder, images)
        return batch.map(lambda values: self._reconstruct(values, decode))

    def decode(self, features: Any, decode: DecodeFunction | None = None) -> Any:
        """Features → images, or whatever a function of the decoder computes.

        Args:
          features: as `Inverter.invert` accepts them.
          decode: `decoder.decode` or `decoder.decode_std`; by default the former.

        Raises:
          InputError: the features have the wrong shape.
        """
        decode = decode or self.decoder.decode
        batch = read_features(self.decoder, features, self.decoder.any_size)
        return batch.map(lambda values: self._decode(values, decode))

    def compiled(self, decode: DecodeFunction, any_size: bool = False) -> Callable[..., Tensor]:
        """Compiles a function of the decoder once, for batches of any length."""
        key = decode, any_size
        if key not in self._compiled:
            network = self.decoder.any_size_network if any_size else self.decoder.network
            shapes = [(None, *network.input_shape[1:])]
            self._compiled[key] = compile_function(decode, shapes, self.decoder.variables)
        return self._compiled[key]

    @functools.cached_property
    def _compute(self) -> Callable[..., Tensor]:
        """The feature of images of its own size; compiled if it is in-graph."""
        feature = self.decoder.feature
        if not feature.in_graph:
            return feature
        return self._compile_feature(feature, (None, *feature.image_shape))

    @functools.cached_property
    def _compute_any_size(self) -> Callable[..., Tensor]:
        """An in-graph feature of images of any size, compiled."""
        return self._compile_feature(self.decoder.feature.compute, (None, None, None, 3))

    def _compile_feature(
        self, function: Callable[[Tensor], Tensor], shape: tuple[int | None, ...]
    ) -> Callable[..., Tensor]:
        model = self.decoder.feature.model
        return compile_function(function, [shape], () if model is None else model.variables)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        feature = self.decoder.feature
        if images.shape[1:] == feature.image_shape:
            return tiling.run_in_batches(self._compute, images, feature.spec.shape)
        multiple = self.decoder.size_multiple
        size = tuple(side + -side % multiple for side in images.shape[1:3])
        cells = (side // feature.cell_size for side in size)
        shape = (*cells, feature.spec.shape[-1])
        return tiling.run_in_batches(
            self._encode_any_size, images, shape, tiling.batch_size_for(size)
        )

    def _reconstruct(self, images: np.ndarray, decode: DecodeFunction) -> np.ndarray:
        decoder = self.decoder
        if images.shape[1:] == decoder.feature.image_shape:

            def reconstruct(batch: np.ndarray) -> Tensor:
                return self.compiled(decode)(self._compute(batch))

            return tiling.run_in_batches(reconstruct, images, (*decoder.output_size, 3))
        height, width = images.shape[1:3]

        def reconstruct_any_size(batch: np.ndarray) -> np.ndarray:
            image = self._decode_any_size(self._encode_any_size(batch), decode)
            return ops.convert_to_numpy(image)[:, :height, :width]

        return tiling.run_in_batches(
            reconstruct_any_size, images, images.shape[1:], tiling.batch_size_for((height, width))
        )

    def _decode(self, features: np.ndarray, decode: DecodeFunction) -> np.ndarray:
        decoder = self.decoder
        if features.shape[1:] == tuple(decoder.feature.spec.shape):
            shape = (*decoder.output_size, 3)
            return tiling.run_in_batches(self.compiled(decode), features, shape)
        if any(side % decoder.grid_multiple or not side for side in features.shape[1:3]):
            raise InputError(
                f"both sides of {decoder.feature.name} features must be multiples of "
                f"{decoder.grid_multiple} for this network. Received: {features.shape}"
            )
        size = tuple(side * decoder.scale for side in features.shape[1:3])

        def decode_batch(batch: np.ndarray) -> Any:
            return self._decode_any_size(batch, decode)

        return tiling.run_in_batches(
            decode_batch, features, (*size, 3), tiling.batch_size_for(size)
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
        decoder, compiled = self.decoder, self.compiled(decode, any_size=True)
        if math.prod(features.shape[1:3]) * decoder.scale**2 <= tiling.MAX_TILE_PIXELS:
            return compiled(features)
        radius, multiple = decoder.receptive_field_radius, decoder.grid_multiple
        return np.stack(
            [
                tiling.decode_tiled(compiled, grid, decoder.scale, radius, multiple)
                for grid in ops.convert_to_numpy(features)
            ]
        )
