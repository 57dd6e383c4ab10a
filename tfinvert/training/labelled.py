"""What a classifier trains on: views of photographs, or their cached features, with labels."""

import concurrent.futures
import os

import numpy as np
import tensorflow as tf

from tfinvert.data import pipeline
from tfinvert.data.cache import FeatureCache
from tfinvert.data.sources import Source, shuffled
from tfinvert.errors import InputError
from tfinvert.training.examples import WHOLE, Part, rows
from tfinvert.training.settings import Settings

HELD_BYTES = 6e9
_PART = 1024  # features unpacked at once


class LabelledImages:
    """Fresh views for ever, with their labels.

    Args:
      source: photographs with classes.
      size: (height, width) of the views.
      settings: batch size, seed and augmentation.

    Raises:
      InputError: the source has no classes, or min_crop, shift or jitter is out of range.
    """

    def __init__(self, source: Source, size: pipeline.Size, settings: Settings):
        self._source, self._size, self._settings = source, size, settings
        self.batches()  # refuses what cannot be, before anything is written

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """Endless `(images [B, *size, 3] in [0, 1], labels int64 [B])`, after `start_step`.

        For `part` see `Examples.batches`.
        """
        settings = self._settings
        images = pipeline.training_batches(
            self._source,
            self._size,
            settings.batch_size,
            settings.seed,
            start_step=start_step,
            min_crop=settings.min_crop,
            jitter=settings.jitter,
            shift=settings.shift,
        )
        start = start_step * settings.batch_size
        labels = self._source.stream_labels(settings.seed, start)
        both = tf.data.Dataset.zip(images, labels.batch(settings.batch_size, drop_remainder=True))
        return rows(both, settings.batch_size, part)


class LabelledFeatures:
    """The features of a cache with their labels, an epoch after another, each in its own order.

    They are unpacked once and held in memory as float16 where that takes less than 6 GB; else
    every batch is read from disk.

    Args:
      cache: features of views in the order of `source.stream(settings.seed)`.
      source: the photographs they are of.
      settings: batch size and seed.

    Raises:
      InputError: the source has no classes, or the cache is damaged.
    """

    def __init__(self, cache: FeatureCache, source: Source, settings: Settings):
        self._cache, self._settings = cache, settings
        stream = source.stream_labels(settings.seed).take(len(cache))
        self.labels = np.fromiter(stream.as_numpy_iterator(), np.int64, len(cache))
        self.shape = tuple(cache.card["feature_shape"])
        size = 2 * len(cache) * int(np.prod(self.shape))
        self._held = _unpack(cache, self.shape) if size < HELD_BYTES else None
        where = "read from disk every time" if self._held is None else "held in memory"
        print(f"{len(cache)} cached features, {size / 1e9:.2f} GB as float16: {where}")

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """Endless `(features float32 [B, *shape], labels int64 [B])`, after `start_step`.

        For `part` see `Examples.batches`.
        """
        size, seed = self._settings.batch_size, self._settings.seed
        own = size // part[1]

        def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = (tf.float32 if self._held is None else tf.float16, tf.int64)
            features, labels = tf.numpy_function(self.read, [indices], kinds)
            features = tf.cast(tf.ensure_shape(features, (own, *self.shape)), tf.float32)
            return features, tf.ensure_shape(labels, (own,))

        order = shuffled(len(self.labels), seed, start_step * size)
        indices = order.map(lambda position, index: index).batch(size, drop_remainder=True)
        return (
            rows(indices, size, part)
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
