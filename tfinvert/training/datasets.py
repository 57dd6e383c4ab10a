"""Training datasets: augmented views of photographs with their features, or with class labels.

`TrainingDataset` computes features anew for every view; `CachedTrainingDataset` reads fixed views
and features from disk, and `PairedDataset` features that were computed elsewhere. A classifier
trains on `LabelledImageDataset` or `LabelledFeatureDataset`.
"""

import abc
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfinvert.common.backend import BACKEND, Tensor
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.common.provenance import library_versions
from tfinvert.config.choices import MEMORY_GB
from tfinvert.data import pipeline
from tfinvert.data.augmentation import RandomAugmentation, Size
from tfinvert.data.feature_cache import FeatureCache, WriteShards, open_cache
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.mixture import Mixture, MixtureAugmentation
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard, batch_indices
from tfinvert.data.sources import Source
from tfinvert.data.stored_pairs import PairedPhotographs
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.training.settings import Settings

STATISTICS_IMAGES = 2048
IN_MEMORY_BYTES = 6e9
_FEATURE_BATCH = 64  # views whose features are computed together for a cache
_READ_BATCH = 1024  # cached features that a thread reads at a time


def augmentation_for(
    settings: Settings, source: type[Source] | Source, size: Size
) -> RandomAugmentation | MixtureAugmentation:
    """Creates the augmentation of a run; settings that are None take the source's defaults.

    In a mixture, the options of a part have priority over the settings.

    Raises:
      InputError: min_crop, shift or color_jitter is out of range.
    """
    if isinstance(source, Mixture):
        augmentations = [
            augmentation_for(dataclasses.replace(settings, **part.options), own, size)
            for part, own in zip(source.parts, source.sources, strict=True)
        ]
        return MixtureAugmentation(source, augmentations)
    min_crop = source.min_crop if settings.min_crop is None else settings.min_crop
    jitter = source.jitter if settings.color_jitter is None else settings.color_jitter
    return RandomAugmentation(size, min_crop, settings.shift, jitter)


def image_cache_for(
    settings: Settings, size: Size, memory_gb: float = MEMORY_GB
) -> DecodedImageCache:
    """Creates a cache of decoded photographs, downscaled as far as the run's views permit."""
    return DecodedImageCache(augmentation_for(settings, Source, size).shrink, memory_gb)


class TrainingDataset:
    """An endless stream of new augmented views with their features.

    Args:
      feature: the feature to invert.
      source: training photographs.
      settings: batch size, seed and augmentation.

    Attributes:
      tail: operations from the features in `batches` to the complete ones, which the training step
        applies.

    Raises:
      InputError: min_crop, shift or color_jitter is out of range.
    """

    def __init__(self, feature: Feature, source: Source, settings: Settings):
        self.tail: Callable[[Tensor], Tensor] = lambda features: features
        self._feature, self._source, self._settings = feature, source, settings
        self._augmentation = augmentation_for(settings, source, feature.image_shape[:2])

    def batches(self, start_step: int = 0, shard: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """Returns the endless batches of a run.

        Elements are `(images,)` if the training step can compute the feature itself, otherwise
        `(images, features)`. Images are `[batch_size / shards, *feature.image_shape]` in [0, 1].

        Args:
          start_step: number of batches to skip.
          shard: (index, number) of equal shards of each batch.
        """
        images = self._images(start_step, shard)
        if self._feature.in_graph:
            return images.map(lambda batch: (batch,))
        return images.map(lambda batch: (batch, self._compute(batch))).prefetch(tf.data.AUTOTUNE)

    def statistics_batches(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yields images and features to compute statistics from: 2048 images, or an epoch."""
        images = min(STATISTICS_IMAGES, len(self._source))
        count = max(1, images // self._settings.batch_size)
        for images in self._images().take(count).as_numpy_iterator():
            # Eagerly: a feature that violates its specification raises a readable error.
            yield images, self._feature(images)

    def _compute(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the feature in a graph of TensorFlow, whatever the backend of Keras."""
        if BACKEND == "tensorflow":
            return self._feature(images)
        values = tf.numpy_function(lambda x: np.asarray(self._feature(x)), [images], tf.float32)
        return tf.ensure_shape(values, (*images.shape[:1], *self._feature.spec.shape))

    def _images(self, start_step: int = 0, shard: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        settings = self._settings
        return pipeline.training_batches(
            self._source, self._augmentation, settings.batch_size, settings.seed, start_step, shard
        )


class StoredViewsDataset(TrainingDataset, abc.ABC):
    """An endless stream of fixed views that are stored together with their features."""

    @property
    @abc.abstractmethod
    def views(self) -> FeatureCache | PairedPhotographs:
        """All views and their features, which `tail` completes."""

    def batches(self, start_step: int = 0, shard: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """Returns endless batches `(images, features)`; see `TrainingDataset.batches`."""
        settings = self._settings
        return self.views.batches(settings.batch_size, settings.seed, start_step, shard)

    def statistics_batches(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yields 2048 evenly spaced views and their complete features, in batches."""
        size = self._settings.batch_size
        indices = evenly_spaced_indices(len(self.views), STATISTICS_IMAGES)
        for begin in range(0, len(indices), size):
            images, features = self.views.read(indices[begin : begin + size])
            yield images / np.float32(255), self.tail(features)


class CachedTrainingDataset(StoredViewsDataset):
    """Fixed views of each photograph, `settings.cached_views` each, with features on disk.

    Features that share a stem share one cache, which holds the stem's output (see `Feature.stem`).
    Views are rounded to 8 bits, as in an image file, and features are computed from the rounded
    views. The cache is opened, or computed, at first use, with the errors of
    `feature_cache.open_cache`.

    Args:
      feature: the feature to invert.
      source: training photographs.
      settings: batch size, seed, augmentation and number of cached views.
      folder: directory of the caches.
      write_shards: writes the files of a new cache; see `open_cache`.
    """

    def __init__(
        self,
        feature: Feature,
        source: Source,
        settings: Settings,
        folder: str | pathlib.Path,
        write_shards: WriteShards | None = None,
    ):
        super().__init__(feature, source, settings)
        self._folder, self._write_shards = folder, write_shards
        self._stem, self.tail = feature.stem()

    @functools.cached_property
    def cache(self) -> FeatureCache:
        """All views and their stem features, in the order in which a run would draw them."""
        stem, source, settings = self._stem, self._source, self._settings
        key = {
            "feature": stem.identity(),
            "photographs": source.identity(),
            "seed": settings.seed,
            "min_crop": self._augmentation.min_crop,
            "jitter": self._augmentation.jitter,
            "shift": self._augmentation.shift,
            "versions": library_versions(),
        }
        count = settings.cached_views * len(source)
        cache = open_cache(
            self._folder, stem.name, key, count, self.compute_views, self._write_shards
        )
        source.release()
        return cache

    @property
    def views(self) -> FeatureCache:
        """The cache."""
        return self.cache

    def compute_views(self, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Computes the views [begin, end), uint8, and their stem features, in batches of 64.

        If `begin` is a multiple of 64, as for all shards of a cache, the batches and hence the
        features are bit-identical wherever they are computed.
        """
        positions = tf.data.Dataset.range(begin, end).batch(_FEATURE_BATCH)
        seed = self._settings.seed
        for images in pipeline.augmented_batches(positions, self._source, self._augmentation, seed):
            images = images.numpy()
            yield images, np.asarray(self._compiled_stem(images / np.float32(255)))

    @functools.cached_property
    def _compiled_stem(self) -> Callable[[np.ndarray], Tensor]:
        graph = BACKEND == "tensorflow" and self._stem.in_graph
        return tf.function(self._stem) if graph else self._stem


class PairedDataset(StoredViewsDataset):
    """Whole photographs, without augmentation, with features that were computed elsewhere.

    Args:
      feature: the feature to invert.
      source: photographs with their features.
      settings: batch size and seed.
    """

    @property
    def views(self) -> PairedPhotographs:
        """The photographs."""
        return self._source


def check_whole_views(settings: Settings, cache: str | pathlib.Path | None = None) -> None:
    """Checks that views are whole photographs, as features require that were computed elsewhere.

    Raises:
      InputError: views are to be augmented or cached, or the feature's model trained.
    """
    allowed = {
        "min_crop": (None, 1),
        "shift": (0,),
        "color_jitter": (None, 0),
        "cached_views": (0,),
        "train_encoder": (False,),
    }
    changed = [
        f"--{name}={getattr(settings, name)}"
        for name, values in allowed.items()
        if getattr(settings, name) not in values
    ]
    changed += [f"--cache={cache}"] if cache else []
    if changed:
        raise InputError(
            "--pairs has the features of whole photographs, which do not fit changed views and "
            f"cannot be trained; omit these flags. Received: {' '.join(changed)}"
        )


def open_training_dataset(
    feature: Feature, source: Source, settings: Settings, cache: str | pathlib.Path | None = None
) -> TrainingDataset:
    """Creates a dataset of cached views if the settings ask for them, otherwise of new ones.

    Args:
      feature: the feature to invert.
      source: training photographs.
      settings: batch size, seed, augmentation and number of cached views.
      cache: directory of the caches; required for cached views, and for them only.

    Raises:
      InputError: `cache` and `settings.cached_views` do not go together, the encoder is trained, or
        see `TrainingDataset`.
    """
    if bool(settings.cached_views) != bool(cache):
        raise InputError(
            "--cache, a directory, and --cached_views, the number of fixed views per photograph, "
            f"require each other. Received: --cache={cache} --cached_views={settings.cached_views}"
        )
    if cache and settings.train_encoder:
        raise InputError(
            "--cache cannot be combined with --train_encoder, as the features change during "
            f"training; omit one of them. Received: --cache={cache}"
        )
    if cache:
        return CachedTrainingDataset(feature, source, settings, cache)
    return TrainingDataset(feature, source, settings)


class LabelledImageDataset:
    """An endless stream of new augmented views with their class labels.

    Args:
      source: photographs with classes.
      size: (height, width) of the views.
      settings: batch size, seed and augmentation.

    Raises:
      InputError: the source has no classes, or min_crop, shift or color_jitter is out of range.
    """

    def __init__(self, source: Source, size: Size, settings: Settings):
        self._source, self._settings = source, settings
        self._augmentation = augmentation_for(settings, source, size)
        self._labels = tf.constant(source.evaluation_labels())

    def batches(self, start_step: int = 0, shard: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """Returns endless `(images [B, *size, 3] in [0, 1], labels int64 [B])`.

        Args:
          start_step: number of batches to skip.
          shard: (index, number) of equal shards of each batch; B is the size of one.
        """
        size, seed = self._settings.batch_size, self._settings.seed
        images = pipeline.training_batches(
            self._source, self._augmentation, size, seed, start_step, shard
        )
        indices = batch_indices(len(self._source), seed, size, start_step, shard)
        labels = indices.map(lambda batch: tf.gather(self._labels, batch))
        return tf.data.Dataset.zip(images, labels)


class LabelledFeatureDataset:
    """Cached features with their class labels, reshuffled in every epoch.

    Features that take less than 6 GB as float16 are read once and kept in memory; others are read
    from disk for every batch.

    Args:
      cache: features of views in the order of `settings.seed`.
      source: the photographs of the cached views, with classes.
      settings: batch size and seed.

    Attributes:
      labels: class of each cached view, int64 `[n]`.
      shape: shape of a feature.

    Raises:
      InputError: the source has no classes, the cache is damaged, or a value exceeds float16.
    """

    def __init__(self, cache: FeatureCache, source: Source, settings: Settings):
        self._cache, self._settings = cache, settings
        views = source.indices_at(settings.seed, np.arange(len(cache)))
        self.labels = source.evaluation_labels()[views]
        self.shape = tuple(cache.card["feature_shape"])
        size = 2 * len(cache) * int(np.prod(self.shape))
        self._features = _read_features(cache, self.shape) if size < IN_MEMORY_BYTES else None
        place = "read from disk for every batch" if self._features is None else "kept in memory"
        print(f"{len(cache)} cached features, {size / 1e9:.2f} GB as float16, {place}")

    def batches(self, start_step: int = 0, shard: BatchShard = WHOLE_BATCH) -> tf.data.Dataset:
        """Returns endless `(features float32 [B, *shape], labels int64 [B])`.

        Args:
          start_step: number of batches to skip.
          shard: (index, number) of equal shards of each batch; B is the size of one.
        """
        size, seed = self._settings.batch_size, self._settings.seed

        def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dtypes = (tf.float32 if self._features is None else tf.float16, tf.int64)
            features, labels = tf.numpy_function(self.read, [indices], dtypes)
            features = tf.ensure_shape(features, (*indices.shape, *self.shape))
            return tf.cast(features, tf.float32), tf.ensure_shape(labels, indices.shape)

        return (
            batch_indices(len(self.labels), seed, size, start_step, shard)
            .map(load, num_parallel_calls=2, deterministic=True)
            .prefetch(2)
        )

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features `[n, *shape]`, float16 from memory or float32, and labels `[n]`."""
        if self._features is None:
            return self._cache.read(indices)[1], self.labels[indices]
        return self._features[indices], self.labels[indices]


def _read_features(cache: FeatureCache, shape: tuple[int, ...]) -> np.ndarray:
    """Reads all features of a cache as float16, in parallel."""
    result = np.empty((len(cache), *shape), np.float16)

    def read_batch(begin: int) -> None:
        features = cache.read(np.arange(begin, min(begin + _READ_BATCH, len(cache))))[1]
        largest = np.abs(features).max()
        if largest > np.finfo(np.float16).max:
            raise InputError(
                f"{cache.path} holds values beyond the range of float16; train without --cache. "
                f"Received: {largest:.3g}"
            )
        result[begin : begin + _READ_BATCH] = features

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(read_batch, range(0, len(cache), _READ_BATCH)))
    return result
