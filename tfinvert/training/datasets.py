"""What a run trains on: views of photographs and, where the device does not compute them, features.

`TrainingDataset` computes features anew for every view; `CachedTrainingDataset` reads them from disk.
"""

import concurrent.futures
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfinvert.common.images import evenly_spaced_indices
from tfinvert.common.provenance import library_versions
from tfinvert.config.choices import MEMORY_GB
from tfinvert.data import pipeline
from tfinvert.data.augmentation import RandomAugmentation, Size
from tfinvert.data.feature_cache import FeatureCache, WriteShards, open_cache
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard, batch_indices, shuffled_indices
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.training.settings import Settings

STATISTICS_IMAGES = 2048
_AT_ONCE = 64  # views whose features are computed together for a cache


def augmentation_for(
    settings: Settings, source: type[Source] | Source, size: Size
) -> RandomAugmentation:
    """How a run cuts views: as its settings say and, where they do not, as suits the source.

    Raises:
      InputError: min_crop, shift or jitter is out of range.
    """
    min_crop = source.min_crop if settings.min_crop is None else settings.min_crop
    jitter = source.jitter if settings.color_jitter is None else settings.color_jitter
    return RandomAugmentation(size, min_crop, settings.shift, jitter)


def image_cache_for(
    settings: Settings, size: Size, memory_gb: float = MEMORY_GB
) -> DecodedImageCache:
    """Where photographs to train on are held, no larger than their views need."""
    return DecodedImageCache(augmentation_for(settings, Source, size).shrink, memory_gb)


class TrainingDataset:
    """Fresh views for ever, their features computed as they come.

    Args:
      feature: the representation.
      source: photographs to train on.
      settings: batch size, seed and augmentation.

    Attributes:
      rest: TensorFlow ops from the features that `batches` gives to the whole, for the device.

    Raises:
      InputError: min_crop, shift or jitter is out of range.
    """

    def __init__(self, feature: Feature, source: Source, settings: Settings):
        self.rest: Callable[[tf.Tensor], tf.Tensor] = tf.identity
        self._feature, self._source, self._settings = feature, source, settings
        self._views = augmentation_for(settings, source, feature.image_shape[:2])

    def batches(self, start_step: int = 0, part: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """The endless batches a run trains on, without the first `start_step`.

        `(images,)` for a feature that runs on the device, `(images, features)` for one that is
        computed here; images `[batch_size / of, *feature.image_shape]` in [0, 1].

        Args:
          start_step: batches to leave out.
          part: (index, of): which of so many equal parts of every batch.
        """
        images = self._images(start_step, part)
        if self._feature.in_graph:
            return images.map(lambda batch: (batch,))
        return images.map(lambda batch: (batch, self._feature(batch))).prefetch(tf.data.AUTOTUNE)

    def first(self) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """Batches of images and features to measure before training: 2 048 images, or an epoch."""
        count = max(1, min(STATISTICS_IMAGES, len(self._source)) // self._settings.batch_size)
        for images in self._images().take(count):
            # Eagerly, where a feature that is not as it says raises a plain error.
            yield images.numpy(), self._feature(images)

    def _images(self, start_step: int = 0, part: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        settings = self._settings
        return pipeline.training_batches(
            self._source, self._views, settings.batch_size, settings.seed, start_step, part
        )


class CachedTrainingDataset(TrainingDataset):
    """As many fixed views of each photograph as the settings say, with their features, on disk.

    Where features begin alike, that part is what is kept, and one cache serves them all (see
    `Feature.stem`). Views are rounded to 8 bits, as a file would hold them, and features are those
    of the rounded views. They are found or made at first use, which raises what
    `data.cache.open_cache` does.
    Arguments as `TrainingDataset`, and:

    Args:
      folder: where caches lie.
      fill: how the cache's files are written, as `open_cache` takes it.
    """

    def __init__(
        self,
        feature: Feature,
        source: Source,
        settings: Settings,
        folder: str | pathlib.Path,
        fill: WriteShards | None = None,
    ):
        super().__init__(feature, source, settings)
        self._folder, self._fill = folder, fill
        self._stem, self.rest = feature.stem()

    @functools.cached_property
    def cache(self) -> FeatureCache:
        """Every view and its feature, in the order of a run with fresh ones."""
        feature, source, settings = self._stem, self._source, self._settings
        key = {
            "feature": feature.identity(),
            "photographs": source.identity(),
            "seed": settings.seed,
            "min_crop": self._views.min_crop,
            "jitter": self._views.jitter,
            "shift": self._views.shift,
            "versions": library_versions(),
        }
        count = settings.cached_views * len(source)
        cache = open_cache(self._folder, feature.name, key, count, self.compute, self._fill)
        source.release()
        return cache

    def batches(self, start_step: int = 0, part: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """As `Examples.batches`, always `(images, features)`, of these what the cache keeps."""
        settings = self._settings
        return self.cache.batches(settings.batch_size, settings.seed, start_step, part)

    def first(self) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """As `Examples.first`, of 2 048 evenly spaced views."""
        size = self._settings.batch_size
        indices = evenly_spaced_indices(len(self.cache), STATISTICS_IMAGES)
        for begin in range(0, len(indices), size):
            images, features = self.cache.read(indices[begin : begin + size])
            yield images / np.float32(255), self.rest(features)

    def compute(self, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The views [begin, end), uint8, and their features, computed a few at a time.

        Where `begin` is a multiple of 64, as in every shard of a cache, they are computed in the
        same batches wherever that is done, and equal to the last bit.
        """
        at = tf.data.Dataset.range(begin, end).batch(_AT_ONCE)
        for images in pipeline.augmented_batches(
            at, self._source, self._views, self._settings.seed
        ):
            images = images.numpy()
            yield images, np.asarray(self._to_keep(images / np.float32(255)))

    @functools.cached_property
    def _to_keep(self) -> Callable[[np.ndarray], tf.Tensor]:
        return tf.function(self._stem) if self._stem.in_graph else self._stem


def open_training_dataset(
    feature: Feature, source: Source, settings: Settings, cache: str | pathlib.Path | None = None
) -> TrainingDataset:
    """Cached examples if the settings ask for cached views, else fresh ones.

    Args:
      feature: the representation.
      source: photographs to train on.
      settings: how.
      cache: the folder for caches; needed if, and only if, views are to be cached.

    Raises:
      InputError: one is given without the other; or see `TrainingDataset`.
    """
    if bool(settings.cached_views) != bool(cache):
        raise InputError(
            "caching takes both a folder (cache) and the number of fixed views of each photograph "
            f"(cached_views). Received: cache={cache}, cached_views={settings.cached_views}"
        )
    if cache and settings.train_encoder:
        raise InputError("a trained encoder's features change, so they cannot be cached")
    if cache:
        return CachedTrainingDataset(feature, source, settings, cache)
    return TrainingDataset(feature, source, settings)


IN_MEMORY_BYTES = 6e9
_PART = 1024  # features unpacked at once


class LabelledImageDataset:
    """Fresh views for ever, with their labels.

    Args:
      source: photographs with classes.
      size: (height, width) of the views.
      settings: batch size, seed and augmentation.

    Raises:
      InputError: the source has no classes, or min_crop, shift or jitter is out of range.
    """

    def __init__(self, source: Source, size: Size, settings: Settings):
        self._source, self._settings = source, settings
        self._views = augmentation_for(settings, source, size)
        self._labels = tf.constant(source.evaluation_labels())

    def batches(self, start_step: int = 0, part: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """Endless `(images [B / of, *size, 3] in [0, 1], labels int64 [B / of])`.

        Without the first `start_step` batches; `part` is (index, of).
        """
        size, seed = self._settings.batch_size, self._settings.seed
        images = pipeline.training_batches(self._source, self._views, size, seed, start_step, part)
        indices = batch_indices(len(self._source), seed, size, start_step, part)
        labels = indices.map(lambda at: tf.gather(self._labels, at))
        return tf.data.Dataset.zip(images, labels)


class LabelledFeatureDataset:
    """The features of a cache with their labels, an epoch after another, each in its own order.

    They are unpacked once and held in memory as float16 where that takes less than 6 GB; else
    every batch is read from disk.

    Args:
      cache: features of views in the order of `settings.seed`.
      source: the photographs they are of.
      settings: batch size and seed.

    Raises:
      InputError: the source has no classes, or the cache is damaged.
    """

    def __init__(self, cache: FeatureCache, source: Source, settings: Settings):
        self._cache, self._settings = cache, settings
        views = shuffled_indices(len(source), settings.seed, np.arange(len(cache)))
        self.labels = source.evaluation_labels()[views]
        self.shape = tuple(cache.card["feature_shape"])
        size = 2 * len(cache) * int(np.prod(self.shape))
        self._held = _unpack(cache, self.shape) if size < IN_MEMORY_BYTES else None
        where = "read from disk every time" if self._held is None else "held in memory"
        print(f"{len(cache)} cached features, {size / 1e9:.2f} GB as float16: {where}")

    def batches(self, start_step: int = 0, part: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """As `LabelledImages.batches`: `(features float32 [B / of, *shape], labels)`."""
        size, seed = self._settings.batch_size, self._settings.seed

        def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.float32 if self._held is None else tf.float16, tf.int64)
            features, labels = tf.numpy_function(self.read, [indices], kinds)
            features = tf.ensure_shape(features, (*indices.shape, *self.shape))
            return tf.cast(features, tf.float32), tf.ensure_shape(labels, indices.shape)

        return (
            batch_indices(len(self.labels), seed, size, start_step, part)
            .map(load, num_parallel_calls=2, deterministic=True)
            .prefetch(2)
        )

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features `[n, *shape]`, as they are held, and labels `[n]`."""
        held = self._held
        features = self._cache.read(indices)[1] if held is None else held[indices]
        return features, self.labels[indices]


def _unpack(cache: FeatureCache, shape: tuple[int, ...]) -> np.ndarray:
    held = np.empty((len(cache), *shape), np.float16)

    def part(begin: int) -> None:
        features = cache.read(np.arange(begin, min(begin + _PART, len(cache))))[1]
        if np.abs(features).max() > np.finfo(np.float16).max:
            raise InputError(f"{cache.path} holds features that float16 cannot; give no --cache")
        held[begin : begin + _PART] = features

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(part, range(0, len(cache), _PART)))
    return held
