"""Inverter: a feature, its standardisation and its trained network, as one artefact."""

import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import serialization, tiling
from tfinvert.inverter.flow_matching import DEFAULT_STEPS, FlowSampler, seeded_noise
from tfinvert.networks import sizes
from tfinvert.networks.uncertainty import UncertaintyHead, attach_head, axis_std, rgb_std
from tfinvert.zoo import registry
from tfinvert.zoo.registry import list_inverters

_OfFeatures = Callable[..., tf.Tensor]


class Inverter:
    """Turns images, or their features, back into images.

    Where feature and network ask for no size (`any_size`), images may have any from a cell on, and
    be a list of different ones. Sides that the grid does not divide are mirrored below and on the
    right, and cut back; large images are taken in pieces that overlap, without a seam.

    Attributes:
      feature: the representation Φ that is inverted.
      standardization: mean and scale the features are standardised with.
      network: the Keras model from standardised features to images.
      card: what made it (data, steps, seed, versions, metrics), as JSON values.
      spread: what gives `uncertainty`, or None.
      flow: what draws images that have a feature, see `sample`; None where there is none.
    """

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization,
        network: keras.Model,
        card: Mapping[str, Any] | None = None,
        spread: UncertaintyHead | None = None,
        flow: FlowSampler | None = None,
    ):
        if tuple(network.input_shape[1:]) != tuple(feature.spec.shape):
            raise InputError(
                f"the network takes features of shape {network.input_shape[1:]}, but "
                f"{feature.name} gives {feature.spec.shape}"
            )
        self.feature = feature
        self.standardization = standardization
        self.network = network
        self.card = dict(card or {})
        self.spread = spread
        self.flow = flow
        self._graphs: dict[tuple[str, bool], Callable[..., tf.Tensor]] = {}

    def _graph(self, function: _OfFeatures, any_size: bool = False) -> _OfFeatures:
        """`decode`, or the like, in a graph: one for any batch, since TensorFlow warns of many."""
        key = function.__name__, any_size
        if key not in self._graphs:
            shape = self._free.input_shape[1:] if any_size else self.feature.spec.shape
            spec = tf.TensorSpec((None, *shape), tf.float32)
            self._graphs[key] = tf.function(function).get_concrete_function(spec)
        return self._graphs[key]

    @functools.cached_property
    def _free(self) -> keras.Model:
        """The network for grids of any size."""
        return sizes.with_input_size(self.network, (None, None))

    @functools.cached_property
    def _telling(self) -> keras.Model:
        """The network with its spread beside the image."""
        if self.spread is None:
            raise InputError(
                f"this inverter of {self.feature.name} does not tell its uncertainty: train it "
                "with --spread=beside, or with --start=INVERTER --spread=alone what it lacks"
            )
        return attach_head(self.network, self.spread.head)

    @functools.cached_property
    def _free_telling(self) -> keras.Model:
        return attach_head(self._free, self.spread.head)

    @functools.cached_property
    def _compute(self) -> Callable[..., tf.Tensor]:
        """An in-graph feature of images of any size, in a graph."""
        spec = tf.TensorSpec((None, None, None, 3), tf.float32)
        return tf.function(self.feature.compute).get_concrete_function(spec)

    @functools.cached_property
    def any_size(self) -> bool:
        """Whether images of any size are taken, from a cell on."""
        return bool(self.feature.cell_size) and sizes.accepts_any_size(self.network)

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the reconstruction of an image of `feature.image_shape`."""
        return tuple(self.network.output_shape[1:3])

    @property
    def multiple(self) -> int:
        """Where any size is taken: pixels of which the sides are made multiples."""
        return self.feature.cell_size * self.contraction

    @functools.cached_property
    def contraction(self) -> int:
        """Where any size is taken: cells of which a grid's sides are multiples."""
        return sizes.total_stride(self.network)

    def at(self, size: Sequence[int]) -> "Inverter":
        """The same inverter with images of another (height, width) as its own.

        Raises:
          InputError: it takes images of one size only, or not of that one.
        """
        if tuple(size) == self.feature.image_shape[:2]:
            return self
        height, width = self.feature.image_shape[:2]
        if not self.any_size:
            self.feature.at(size)  # which says so where the feature is the reason
            raise InputError(
                f"the network of this inverter of {self.feature.name} takes one size, "
                f"{height}×{width} pixels. Received: {size[0]}×{size[1]}"
            )
        if any(side % self.multiple or side < 1 for side in size):
            raise InputError(
                f"this inverter of {self.feature.name} takes a height and width that are multiples "
                f"of {self.multiple}. Received: {size[0]}×{size[1]}"
            )
        feature = self.feature.at(size)
        network = sizes.with_input_size(self.network, tuple(feature.spec.shape[:2]))
        return Inverter(feature, self.standardization, network, self.card, self.spread)

    def decode(self, features: tf.Tensor) -> tf.Tensor:
        """f(φ; w) in a graph: `[B, *feature.spec.shape]` becomes `[B, *output_size, 3]`.

        Where any size is taken, also other `[B, h, w, channels]`.
        """
        network = self.network if self._takes(features) else self._free
        return _image(network(self.standardization(features), training=False))

    def decode_with_deviations(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`decode`, and how far that may be off along the axes of `uncertainty`, in a graph."""
        network = self._telling if self._takes(features) else self._free_telling
        image, logarithm = network(self.standardization(features), training=False)
        deviations = axis_std(tf.cast(logarithm, tf.float32)) * self.spread.calibration
        return _image(image), deviations

    def _along_axes(self, features: tf.Tensor) -> tf.Tensor:
        return self.decode_with_deviations(features)[1]

    def _takes(self, features: tf.Tensor) -> bool:
        """Whether features are for the network as it is, or else must be refused by it."""
        return features.shape[1:] == self.feature.spec.shape or not self.any_size

    def rebuild(self, images: tf.Tensor, function: _OfFeatures | None = None) -> Any:
        """`reconstruct` in a graph, of an in-graph feature and without pieces.

        Args:
          images: `[B, *feature.image_shape]` or, for any size, `[B, H, W, 3]`.
          function: what is done to features in place of `decode`; `decode_with_deviations`.
        """
        function = function or self.decode
        if not self.any_size:
            return function(self.feature(images))
        size = tf.shape(images)[1:3]
        more = tf.math.floormod(-size, self.multiple)
        padded = tf.pad(images, [[0, 0], [0, more[0]], [0, more[1]], [0, 0]], "SYMMETRIC")
        made = function(self.feature.compute(padded))
        return tf.nest.map_structure(lambda image: image[:, : size[0], : size[1]], made)

    def invert(self, features: Any) -> Any:
        """Features → reconstructions: `[B, *feature.spec.shape]` becomes `[B, *output_size, 3]`.

        Args:
          features: an array or, for any size, also a list of `[h, w, channels]`.

        Returns:
          float32 in [0, 1], an array or a list.

        Raises:
          InputError: the features are of another shape.
        """
        return self._of_features(features, self.decode)

    def uncertainty(self, features: Any, along: Literal["rgb", "axes"] = "rgb") -> Any:
        """How far `invert` may be from the photograph: a standard deviation at every pixel.

        About 68 % of the differences are within one deviation, of images like those that it was
        trained on.

        Args:
          features: as `invert` takes them.
          along: "rgb" for red, green and blue; "axes" for brightness, red-green and blue-yellow,
            each the pixel's projection on a row of `networks.spread.AXES`.

        Returns:
          float32 in units of the image, `[B, *output_size, 3]`, or a list, as `invert`.

        Raises:
          InputError: the inverter has no spread, or the features are of another shape.
        """
        if along not in ("rgb", "axes"):
            raise InputError(f"along must be rgb or axes. Received: {along!r}")
        _ = self._telling  # or there is none
        deviations = self._of_features(features, self._along_axes)
        if along == "axes":
            return deviations
        if isinstance(deviations, list):
            return [np.asarray(rgb_std(one)) for one in deviations]
        return np.asarray(rgb_std(deviations))

    def _of_features(self, features: Any, function: _OfFeatures) -> Any:
        """`decode`, or the like, of features: see `invert`."""
        if isinstance(features, (list, tuple)) and self.any_size:
            return [self._of_features(np.asarray(one)[np.newaxis], function)[0] for one in features]
        features = self._array(features)
        shape = (self._free if self.any_size else self.network).input_shape
        if not tf.TensorShape(shape).is_compatible_with(features.shape):
            raise InputError(
                f"features of {self.feature.name} have the shape [B, "
                f"{', '.join(str(side or 'any') for side in shape[1:])}]. Received: "
                f"{features.shape}"
            )
        if features.shape[1:] == self.feature.spec.shape:
            return self._in_batches(self._graph(function), features, (*self.output_size, 3))
        if any(side % self.contraction or not side for side in features.shape[1:3]):
            raise InputError(
                f"features of {self.feature.name} for this network have sides that are multiples "
                f"of {self.contraction}. Received: {features.shape}"
            )
        size = tuple(side * self._pixels for side in features.shape[1:3])

        def image_of(batch: np.ndarray) -> Any:
            return self._image_of(batch, function)

        return self._in_batches(image_of, features, (*size, 3), tiling.batch_size_for(size))

    def _array(self, features: Any) -> np.ndarray:
        try:
            return np.asarray(features, np.float32)
        except ValueError as error:
            raise InputError(
                f"features of {self.feature.name} must be numbers, and of one shape: {error}"
            ) from error

    def sample(
        self, features: Any, n: int, *, seed: int = 0, steps: int = DEFAULT_STEPS
    ) -> np.ndarray:
        """Images that have the features, drawn at random; that of `invert` is the mean of all such.

        The same seed gives the same samples. What the k-th of the i-th feature begins with is fixed
        by (seed, i, k): more samples go on where fewer end.

        Args:
          features: `[B, *feature.spec.shape]`.
          n: how many of each.
          seed: not negative.
          steps: of the integration, each two passes through the network; fewer are faster and
            coarser.

        Returns:
          `[B, n, *output_size, 3]` float32 in [0, 1].

        Raises:
          InputError: this inverter cannot draw, a number is out of range, or the features are of
            another shape.
        """
        if self.flow is None:
            names = [entry.name for entry in list_inverters() if entry.draws]
            raise InputError(
                f"this inverter of {self.feature.name} cannot draw samples: take "
                f"{', '.join(names)} or one that `tfinvert train --samples` made, at its own size"
            )
        for name, value, least in (("n", n, 1), ("seed", seed, 0), ("steps", steps, 1)):
            if not isinstance(value, Integral) or value < least:
                raise InputError(f"{name} must be a whole number from {least}. Received: {value}")
        features = self._array(features)
        if features.shape[1:] != self.feature.spec.shape:
            raise InputError(
                f"samples are drawn of features of {self.feature.name} of the shape [B, "
                f"{', '.join(map(str, self.feature.spec.shape))}]. Received: {features.shape}"
            )
        size = (*self.output_size, 3)
        means = self._in_batches(self._graph(self.decode), features, size)
        numbers = np.arange(len(features) * n)

        def draw(at: np.ndarray) -> tf.Tensor:
            pairs = [divmod(number, n) for number in at.tolist()]
            begin = np.stack([seeded_noise((seed, *pair), size) for pair in pairs])
            image = at // n
            return self._draw(means[image], features[image], begin, np.int32(steps))

        return self._in_batches(draw, numbers, size).reshape(-1, n, *size)

    @functools.cached_property
    def _draw(self) -> Callable[..., tf.Tensor]:
        """`Flow.draw` of features in a graph, one for any batch and number of steps."""
        image = tf.TensorSpec((None, *self.output_size, 3), tf.float32)
        features = tf.TensorSpec((None, *self.feature.spec.shape), tf.float32)

        def draw(mean: Any, features: Any, begin: Any, steps: Any) -> tf.Tensor:
            return self.flow.draw(mean, self.standardization(features), begin, steps)

        steps = tf.TensorSpec((), tf.int32)
        return tf.function(draw).get_concrete_function(image, features, image, steps)

    def encode(self, images: Any) -> Any:
        """Images → features: `[B, *feature.image_shape]` becomes `[B, *feature.spec.shape]`.

        For any size, a list of different images gives a list; sides that the grid does not divide
        are mirrored, so that the features are those of whole cells.

        Raises:
          InputError: the images are of another shape, or not floating point.
        """
        images = self._checked(images)
        if isinstance(images, list):
            return [self._encoded(image[np.newaxis])[0] for image in images]
        return self._encoded(images)

    def reconstruct(self, images: Any) -> Any:
        """Images → features → reconstructions: `[B, *feature.image_shape]` in [0, 1].

        For any size, `[B, H, W, 3]` with other sides too, or a list of different images.

        Returns:
          `[B, *output_size, 3]` float32 in [0, 1]; for any size, of the images' own size, and a
          list for a list of different ones.

        Raises:
          InputError: the images are of another shape, smaller than a cell, or not floating point.
        """
        images = self._checked(images)
        if isinstance(images, list):
            return [self._reconstructed(image[np.newaxis])[0] for image in images]
        return self._reconstructed(images)

    def _encoded(self, images: np.ndarray) -> np.ndarray:
        if self._are_own(images):
            return self._in_batches(self.feature, images, self.feature.spec.shape)
        size = tuple(side + -side % self.multiple for side in images.shape[1:3])
        cells = (side // self.feature.cell_size for side in size)
        shape = (*cells, self.feature.spec.shape[-1])
        return self._in_batches(self._feature_of, images, shape, tiling.batch_size_for(size))

    def _reconstructed(self, images: np.ndarray) -> np.ndarray:
        if self._are_own(images):
            return self._in_batches(
                lambda batch: self._graph(self.decode)(self.feature(batch)),
                images,
                (*self.output_size, 3),
            )
        height, width = images.shape[1:3]

        def rebuild(batch: np.ndarray) -> np.ndarray:
            image = self._image_of(self._feature_of(batch), self.decode)
            return np.asarray(image)[:, :height, :width]

        return self._in_batches(
            rebuild, images, images.shape[1:], tiling.batch_size_for((height, width))
        )

    def _are_own(self, images: np.ndarray) -> bool:
        """Whether images are of the feature's own size, or else must be refused by it."""
        return images.shape[1:] == self.feature.image_shape or not self.any_size

    @property
    def _pixels(self) -> int:
        """Along a cell, of a reconstruction."""
        return self.output_size[0] // self.feature.spec.shape[0]

    def _feature_of(self, images: np.ndarray) -> Any:
        """The feature of a few images of any size; of large ones in pieces."""
        images = tiling.pad_to_multiple(images, self.multiple)
        size = images.shape[1:3]
        compute = self._compute if self.feature.in_graph else self.feature.at(size)
        if math.prod(size) <= tiling.MAX_TILE_PIXELS:
            return compute(images)
        cell, reach = self.feature.cell_size, self.feature.receptive_field_radius
        return np.stack([tiling.compute_feature_tiled(compute, one, cell, reach) for one in images])

    def _image_of(self, features: Any, function: _OfFeatures) -> Any:
        """`decode`, or the like, of a few features of any size; large ones in pieces."""
        pixels, compute = self._pixels, self._graph(function, any_size=True)
        if math.prod(features.shape[1:3]) * pixels**2 <= tiling.MAX_TILE_PIXELS:
            return compute(features)
        reach = sizes.receptive_field_radius(self.network)
        if self.spread:  # whose head reaches further than the image's layer
            reach += sizes.receptive_field_radius(self.spread.head)
        return np.stack(
            [
                tiling.decode_tiled(compute, one, pixels, reach, self.contraction)
                for one in np.asarray(features)
            ]
        )

    def _checked(self, images: Any) -> np.ndarray | list[np.ndarray]:
        """A batch; for any size also a list of images of different sizes.

        Raises:
          InputError: they are not that; of images of its own size the feature says it itself.
        """
        if isinstance(images, (list, tuple)):
            images = [np.asarray(image) for image in images]
            shapes = {image.shape for image in images}
            if len(shapes) > 1 and not self.any_size:
                raise InputError(
                    f"{self.feature.name} was made for images of "
                    f"{self.feature.image_shape[0]}×{self.feature.image_shape[1]} pixels. "
                    f"Received: images of {len(shapes)} shapes"
                )
            if len(shapes) > 1:
                for image in images:
                    self._check(image[np.newaxis])
                return images
        images = np.asarray(images)
        if not self._are_own(images):
            self._check(images)
        return images

    def _check(self, images: np.ndarray) -> None:
        cell, name = self.feature.cell_size, self.feature.name
        if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < cell:
            raise InputError(
                f"{name} takes RGB images [B, H, W, 3] of at least {cell}×{cell} pixels. "
                f"Received: {images.shape}"
            )
        if images.dtype.kind != "f" or not np.isfinite(images).all():
            found = "pixels that are NaN or infinite" if images.dtype.kind == "f" else images.dtype
            raise InputError(
                f"{name} takes floating point images in [0, 1]; divide uint8 images by 255. "
                f"Received: {found}"
            )

    def _in_batches(
        self,
        function: Any,
        values: np.ndarray,
        shape: Sequence[int],
        batch: int = tiling.MAX_BATCH_SIZE,
    ) -> np.ndarray:
        if not len(values):
            return np.zeros((0, *shape), np.float32)
        parts = range(0, len(values), batch)
        return np.concatenate([np.asarray(function(values[i : i + batch])) for i in parts])

    def round_weights(self, dtype: str) -> None:
        """Rounds the weights to what a file of that type would hold, for example "float16"."""
        others = [self.spread and self.spread.head, self.flow and self.flow.network]
        for model in filter(None, [self.network, *others]):
            model.set_weights([weight.astype(dtype) for weight in model.get_weights()])

    def save(
        self, path: str | pathlib.Path, dtype: Literal["float32", "float16"] = "float32"
    ) -> None:
        """Writes a self-contained directory, whole or not at all.

        Args:
          path: a directory that does not exist yet.
          dtype: how the network's weights are stored; float16 halves the size and rounds them. The
            layers of a feature that is saved with it keep their values.

        Raises:
          InputError: the directory exists already.
        """
        parts = (self.feature, self.standardization, self.network, self.card, self.spread)
        serialization.write(path, *parts, self.flow, dtype)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Inverter":
        """Reads what `save` wrote; no code in the directory is run.

        Raises:
          InputError: a file is missing, truncated, or of another format, holds more than the card
            tells of, or a weight that is not finite.
        """
        path = pathlib.Path(path)
        if not path.is_dir():
            raise InputError(
                f"no inverter at {path}: give a saved inverter's directory or one of "
                f"{', '.join(registry.shipped())}"
            )
        return cls(*serialization.read(path))


def _image(values: tf.Tensor) -> tf.Tensor:
    """What a network gives, as an image."""
    return tf.clip_by_value(tf.cast(values, tf.float32), 0.0, 1.0)


def load(path: str | pathlib.Path) -> Inverter:
    """An inverter from the directory it was saved in, or one that comes with the package.

    Args:
      path: a directory, or a name out of `shipped()`, for example "hog", or "hog@2" for that
        version or none. The card of one that comes with the package says it, in `shipped_as`.

    Raises:
      InputError: there is neither, it ships in another version, or the directory does not hold a
        whole inverter.
    """
    found = (
        None
        if (pathlib.Path(path) / serialization.CARD).exists()
        else registry.find_shipped(str(path))
    )
    if found is None:
        return Inverter.load(path)
    directory, name = found
    inverter = Inverter.load(directory)
    inverter.card["shipped_as"] = name
    return inverter
