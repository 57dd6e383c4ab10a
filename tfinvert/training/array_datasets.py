"""Training data from Python: arrays of images and features, `tf.data` data sets, and sources.

No TensorFlow is needed for arrays. Elements of all batches are `(images,)` if the training step
computes the feature, otherwise `(images, features)`; images are float32 `[B, H, W, 3]` in [0, 1].
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tfinvert.common.images import check_images, to_float
from tfinvert.data.cropping import read_photograph
from tfinvert.data.decode import EXTENSIONS
from tfinvert.data.shuffling import shuffled_indices
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.stored import StoredFeature
from tfinvert.training.settings import Settings

STATISTICS_IMAGES = 2048
DEFAULT_BATCH_SIZE = 64
_CHUNK = 256  # images that are checked together

Batch = tuple[Any, ...]
_FILES = str | os.PathLike | Image.Image
_SOURCE_KINDS = ("folder", "tfds", "mix")


def to_image_array(images: Any, size: Sequence[int], name: str = "x") -> np.ndarray:
    """Converts images to an array, and checks them.

    Args:
      images: `[n, H, W, 3]` or one image `[H, W, 3]`, uint8 or floating point in [0, 1]; the path
        of a file or a Pillow image, which are cropped and resized; or a list of single images.
      size: the required (height, width).
      name: the argument's name, for messages.

    Returns:
      uint8 or float32 `[n, *size, 3]`.

    Raises:
      InputError: there are no images, a file cannot be read, or they have another size, type or
        range.
    """
    if isinstance(images, _FILES):
        images = [images]
    if isinstance(images, list | tuple):
        images = [
            read_photograph(image, size) if isinstance(image, _FILES) else np.asarray(image)
            for image in images
        ]
        if len({image.dtype for image in images}) > 1:
            for image in images:
                check_images(image, name)
            images = [*map(to_float, images)]
        shapes = sorted({image.shape for image in images})
        if len(shapes) > 1:
            raise InputError(
                f"the images of {name} must have one size, {size[0]}×{size[1]} pixels; resize or "
                f"crop them. Received: the shapes {', '.join(map(str, shapes[:3]))}"
            )
    images = np.asarray(images)
    images = images[np.newaxis] if images.shape == (*size, 3) else images
    if not len(np.atleast_1d(images)):
        raise InputError(f"{name} must contain at least one image. Received: none")
    if images.shape[1:] != (*size, 3):
        raise InputError(
            f"{name} must be RGB images [n, {size[0]}, {size[1]}, 3], the image_size of the model; "
            f"resize or crop them. Received: the shape {images.shape}"
        )
    check_images(images, name)
    return images if images.dtype == np.uint8 else to_float(images)


def to_feature_array(features: Any, feature: Feature, count: int, name: str = "x") -> np.ndarray:
    """Converts features to an array, and checks them.

    Args:
      features: `[count, *feature.spec.shape]`.
      feature: the feature that they are of.
      count: the number of images.
      name: the argument's name, for messages.

    Returns:
      float32.

    Raises:
      InputError: they have another number or shape, or are not finite.
    """
    shape = tuple(feature.spec.shape)
    try:
        features = np.asarray(features, np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} must be features of {feature.name}, numbers of one shape. Received: {error}"
        ) from error
    if features.shape[1:] != shape:
        raise InputError(
            f"{name} must be features of {feature.name}, [n, {', '.join(map(str, shape))}]. "
            f"Received: the shape {features.shape}"
        )
    if len(features) != count:
        raise InputError(
            f"there must be as many features as images. Received: {len(features)} features, "
            f"{count} images"
        )
    if not all(
        np.isfinite(features[begin : begin + _CHUNK]).all() for begin in range(0, count, _CHUNK)
    ):
        raise InputError(f"{name} must be finite. Received: features that are NaN or infinite")
    return features


@dataclasses.dataclass(frozen=True)
class Examples:
    """Checked images and, if these are given, their features.

    Attributes:
      images: `[n, H, W, 3]`, uint8 or float32 in [0, 1].
      features: float32 `[n, *shape]`, or None.
    """

    images: np.ndarray
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice | np.ndarray) -> Examples:
        """Returns some of the examples."""
        features = None if self.features is None else self.features[part]
        return Examples(self.images[part], features)


def read_examples(feature: Feature, data: Any, name: str, split: str = "all") -> Examples:
    """Reads images and, if they are given, their features into memory, and checks them.

    Args:
      feature: the feature to invert.
      data: images, see `to_image_array`; a pair (features, images); a finite `tf.data.Dataset` of
        either; or a name of `--data`.
      name: the argument's name, for messages.
      split: the part of a source that is read, see `open_source`.

    Raises:
      InputError: the data is invalid, or has no features although the feature has no function.
    """
    if is_source(data):
        require_function(feature)
        return Examples(_read_source(data, split, feature.image_shape[:2]))
    if is_stream(data):
        data = _read_stream(feature, data)
    if not (isinstance(data, tuple) and len(data) == 2):
        require_function(feature)
        return Examples(to_image_array(data, feature.image_shape[:2], name))
    images = to_image_array(data[1], feature.image_shape[:2], "y" if name == "x" else name)
    return Examples(images, to_feature_array(data[0], feature, len(images), name))


def require_function(feature: Feature) -> None:
    """Checks that a feature can be computed from images.

    Raises:
      InputError: it was computed elsewhere.
    """
    if isinstance(feature, StoredFeature):
        raise InputError(
            f"the feature {feature.name} cannot be computed from images; pass features with their "
            "images, as x and y or as a pair. Received: no features"
        )


def is_source(data: Any) -> bool:
    """Returns whether data is a name of `--data`, rather than the path of an image file."""
    if not isinstance(data, str):
        return False
    kind = data.partition(":")[0]
    return kind in _SOURCE_KINDS or not data.lower().endswith(EXTENSIONS)


def is_stream(data: Any) -> bool:
    """Returns whether data is a `tf.data.Dataset`."""
    return hasattr(data, "element_spec") and hasattr(data, "cardinality")


class ArrayDataset:
    """Endless batches of images in memory, with their features if the step cannot compute them.

    The order of an epoch depends only on the seed and the epoch, so that a resumed run trains on
    the batches of an uninterrupted one. Batches are full: one may span two epochs.

    Args:
      feature: the feature to invert.
      examples: the images, with features if these are not to be computed.
      batch_size: largest number of images per batch, over all devices.
      seed: seed of the order.
      shuffle: whether each epoch has an order of its own, instead of that of the arrays.

    Attributes:
      name: the kind of data.
      batch_size: images per batch, at most all of them.
      steps_per_epoch: batches per epoch, rounded up.
      tail: completes features of `batches` in the training step; see `TrainingDataset`.
      errors: context in which batches are read.
    """

    name: ClassVar[str] = "arrays"
    tail: Callable[[Any], Any] = staticmethod(lambda features: features)
    errors = staticmethod(contextlib.nullcontext)

    def __init__(
        self,
        feature: Feature,
        examples: Examples,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seed: int = 0,
        shuffle: bool = True,
    ):
        self._feature, self._seed, self._shuffle = feature, seed, shuffle
        self._images, self._features = examples.images, examples.features
        self.batch_size = min(batch_size, len(self._images))
        self.steps_per_epoch = math.ceil(len(self._images) / self.batch_size)

    def batches(self, start_step: int = 0, shard: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Yields the endless batches of a run.

        Args:
          start_step: number of batches to skip.
          shard: (index, number) of equal shards of each batch.
        """
        index, shards = shard
        share = self.batch_size // shards
        for step in itertools.count(start_step):
            begin = step * self.batch_size + index * share
            yield self._batch(np.arange(begin, begin + share))

    def statistics_batches(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields images and features to compute statistics from: 2048 images, or an epoch."""
        count = min(STATISTICS_IMAGES, len(self._images))
        for begin in range(0, count, self.batch_size):
            batch = self._batch(np.arange(begin, min(begin + self.batch_size, count)))
            yield batch[0], batch[1] if len(batch) > 1 else self._feature(batch[0])

    def identity(self) -> str:
        """Returns a digest that changes with the images, the features and their order."""
        digest = hashlib.sha256(repr((self._seed, self._shuffle)).encode())
        for array in (self._images, self._features):
            if array is not None:
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def _batch(self, positions: np.ndarray) -> Batch:
        count = len(self._images)
        if self._shuffle:
            indices = shuffled_indices(count, self._seed, positions)
        else:
            indices = positions % count
        images = to_float(self._images[indices])
        if self._features is not None:
            return images, self._features[indices]
        if self._feature.in_graph:
            return (images,)
        return images, np.asarray(self._feature(images))


class StreamDataset:
    """Batches of a finite `tf.data.Dataset`, repeated endlessly.

    Its own order is kept. A resumed run skips the batches that were trained on, and is exact if the
    data set is deterministic.

    Args:
      feature: the feature to invert.
      dataset: images `[H, W, 3]` or batches of them, uint8 or floating point in [0, 1], or pairs of
        features and images.
      batch_size: images per batch, over all devices; None takes the size of the data set's batches.
      steps_per_epoch: batches per epoch, for a data set of unknown length; None counts them.

    Attributes:
      name: the kind of data.
      batch_size: images per batch.
      steps_per_epoch: batches per epoch; an incomplete batch at the end is dropped.
      tail: see `ArrayDataset`.

    Raises:
      InputError: the elements have another form, there is no complete batch, or the data set is
        infinite and `steps_per_epoch` is missing.
    """

    name: ClassVar[str] = "tf.data.Dataset"
    tail: Callable[[Any], Any] = staticmethod(lambda features: features)

    def __init__(
        self,
        feature: Feature,
        dataset: Any,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
    ):
        self._feature = feature
        dataset, self.batch_size = _rebatch(feature, dataset, batch_size)
        if len(dataset.element_spec) == 1:
            require_function(feature)
        infinite = int(dataset.cardinality()) == -1
        if infinite and not steps_per_epoch:
            raise InputError("an infinite data set needs steps_per_epoch. Received: None")
        self.steps_per_epoch = steps_per_epoch or _count(dataset)
        if not self.steps_per_epoch:
            raise InputError(
                f"x must contain at least one batch of {self.batch_size} images. Received: fewer"
            )
        self._dataset = dataset if infinite else dataset.repeat()

    def batches(self, start_step: int = 0, shard: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Yields the batches of a run; see `ArrayDataset.batches`."""
        index, shards = shard
        share = self.batch_size // shards
        rows = slice(index * share, (index + 1) * share)
        for batch in self._dataset.skip(start_step).prefetch(2).as_numpy_iterator():
            yield self._complete(*(part[rows] for part in batch))

    def statistics_batches(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields images and features to compute statistics from: 2048 images, or an epoch."""
        count = min(max(1, STATISTICS_IMAGES // self.batch_size), self.steps_per_epoch)
        for batch in self._dataset.take(count).as_numpy_iterator():
            images, *features = self._complete(*batch)
            check_images(images, "x")
            yield images, features[0] if features else self._feature(images)

    @staticmethod
    def errors() -> contextlib.AbstractContextManager[None]:
        """Returns a context in which errors of the data set become `InputError`s."""
        from tfinvert.data.pipeline import convert_pipeline_errors

        return convert_pipeline_errors()

    def identity(self) -> str:
        """Describes the data set; its content is not compared."""
        return f"{self._dataset.element_spec} × {self.steps_per_epoch}"

    def _complete(self, images: np.ndarray, *features: np.ndarray) -> Batch:
        images = to_float(images)
        if features or self._feature.in_graph:
            return images, *features
        return images, np.asarray(self._feature(images))


class SourceDataset:
    """Augmented views of the photographs of a source, as `tfinvert train` draws them.

    Args:
      feature: the feature to invert.
      data: a name of `--data`.
      settings: batch size, seed and augmentation.
      split: the part of the source, see `open_source`.

    Attributes:
      name: the name of the data.
      batch_size: images per batch, over all devices.
      steps_per_epoch: batches per epoch, rounded up.
      tail: see `ArrayDataset`.
      batches: see `TrainingDataset`.
      statistics_batches: see `TrainingDataset`.

    Raises:
      InputError: the source cannot be opened.
    """

    errors = staticmethod(StreamDataset.errors)

    def __init__(self, feature: Feature, data: str, settings: Settings, split: str):
        from tfinvert.data.open_source import open_source
        from tfinvert.training.datasets import TrainingDataset, image_cache_for

        require_function(feature)
        cache = image_cache_for(settings, feature.image_shape[:2])
        source = open_source(data, split, cache)
        dataset = TrainingDataset(feature, source, settings)
        self.tail, self.batches = dataset.tail, dataset.batches
        self.statistics_batches = dataset.statistics_batches
        self.name, self.batch_size = data, settings.batch_size
        self.steps_per_epoch = math.ceil(len(source) / settings.batch_size)
        self._description = f"{data}, {split}: {len(source)} images"

    def identity(self) -> str:
        """Describes the source; as for `tfinvert train`, its images are counted, not compared."""
        return self._description


def _read_source(data: str, split: str, size: tuple[int, int]) -> np.ndarray:
    from tfinvert.data.open_source import open_source
    from tfinvert.metrics.evaluation import read_images

    return read_images(open_source(data, split), size)


def _read_stream(feature: Feature, dataset: Any) -> Any:
    """Reads a data set into an array of images or a pair of features and images."""
    if int(dataset.cardinality()) == -1:
        raise InputError("a data set to evaluate on must be finite. Received: an infinite one")
    pair, batched = _element_form(feature, dataset)
    elements = [*dataset.as_numpy_iterator()]
    if not elements:
        raise InputError("a data set must contain at least one image. Received: none")
    join = np.concatenate if batched else np.stack
    return tuple(map(join, zip(*elements, strict=True))) if pair else join(elements)


def _element_form(feature: Feature, dataset: Any) -> tuple[bool, bool]:
    """Returns whether elements are pairs (features, images), and whether they are batches."""
    specs = dataset.element_spec
    parts = [*specs] if isinstance(specs, tuple) else [specs]
    shapes = [getattr(part, "shape", None) for part in parts]
    wanted = [tuple(feature.spec.shape), feature.image_shape][-len(parts) :]
    batched = _fits(shapes[-1], (None, *wanted[-1]))
    expected = [(None,) * batched + shape for shape in wanted]
    if len(parts) > 2 or not all(map(_fits, shapes, expected)):
        raise InputError(
            f"the data set must consist of images {feature.image_shape}, or pairs (features "
            f"{tuple(feature.spec.shape)}, images), alone or in batches. Received: {specs}"
        )
    return len(parts) == 2, batched


def _rebatch(feature: Feature, dataset: Any, batch_size: int | None) -> tuple[Any, int]:
    """Returns complete batches `(images,)` or `(images, features)`, and their size."""
    _, batched = _element_form(feature, dataset)
    dataset = dataset.map(lambda *parts: parts[::-1])
    if not batched:
        batch_size = batch_size or DEFAULT_BATCH_SIZE
        return dataset.batch(batch_size, drop_remainder=True), batch_size
    if batch_size is None:
        first = next(iter(dataset.take(1)), None)
        if first is None:
            raise InputError("x must contain at least one image. Received: an empty data set")
        batch_size = int(first[0].shape[0])
    if dataset.element_spec[0].shape[0] != batch_size:
        dataset = dataset.rebatch(batch_size, drop_remainder=True)
    return dataset, batch_size


def _fits(shape: Any, wanted: Sequence[int | None]) -> bool:
    return shape is not None and shape.rank is not None and shape.is_compatible_with(wanted)


def _count(dataset: Any) -> int:
    """Counts the elements of a data set, by a pass over it if it does not know their number."""
    known = int(dataset.cardinality())
    return known if known >= 0 else sum(1 for _ in dataset)
