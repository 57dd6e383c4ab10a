"""What a run trains on: views of photographs and, where the device does not compute them, features.

`Examples` computes features anew for every view; `CachedExamples` reads them from disk.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfinvert.card import versions
from tfinvert.choices import MEMORY_GB
from tfinvert.data import pipeline
from tfinvert.data.cache import FeatureCache, Fill, open_cache
from tfinvert.data.held import Held
from tfinvert.data.order import WHOLE, Part
from tfinvert.data.sources import Source
from tfinvert.data.views import Size, Views
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.sampling import evenly
from tfinvert.training.settings import Settings

MEASURED_IMAGES = 2048
_AT_ONCE = 64  # views whose features are computed together for a cache


def views_of(settings: Settings, source: type[Source] | Source, size: Size) -> Views:
    """How a run cuts views: as its settings say and, where they do not, as suits the source.

    Raises:
      InputError: min_crop, shift or jitter is out of range.
    """
    min_crop = source.min_crop if settings.min_crop is None else settings.min_crop
    jitter = source.jitter if settings.jitter is None else settings.jitter
    return Views(size, min_crop, settings.shift, jitter)


def held_for(settings: Settings, size: Size, memory_gb: float = MEMORY_GB) -> Held:
    """Where photographs to train on are held, no larger than their views need."""
    return Held(views_of(settings, Source, size).reduced, memory_gb)


class Examples:
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
        self._views = views_of(settings, source, feature.image_shape[:2])

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
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
        count = max(1, min(MEASURED_IMAGES, len(self._source)) // self._settings.batch_size)
        for images in self._images().take(count):
            # Eagerly, where a feature that is not as it says raises a plain error.
            yield images.numpy(), self._feature(images)

    def _images(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        settings = self._settings
        return pipeline.training_batches(
            self._source, self._views, settings.batch_size, settings.seed, start_step, part
        )


class CachedExamples(Examples):
    """As many fixed views of each photograph as the settings say, with their features, on disk.

    Where features begin alike, that part is what is kept, and one cache serves them all (see
    `Feature.stem`). Views are rounded to 8 bits, as a file would hold them, and features are those
    of the rounded views. They are found or made at first use, which raises what
    `data.cache.open_cache` does.
    Arguments as `Examples`, and:

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
        fill: Fill | None = None,
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
            "versions": versions(),
        }
        count = settings.cached_views * len(source)
        cache = open_cache(self._folder, feature.name, key, count, self.compute, self._fill)
        source.release()
        return cache

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """As `Examples.batches`, always `(images, features)`, of these what the cache keeps."""
        settings = self._settings
        return self.cache.batches(settings.batch_size, settings.seed, start_step, part)

    def first(self) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """As `Examples.first`, of 2 048 evenly spaced views."""
        size = self._settings.batch_size
        indices = evenly(len(self.cache), MEASURED_IMAGES)
        for begin in range(0, len(indices), size):
            images, features = self.cache.read(indices[begin : begin + size])
            yield images / np.float32(255), self.rest(features)

    def compute(self, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The views [begin, end), uint8, and their features, computed a few at a time.

        Where `begin` is a multiple of 64, as in every shard of a cache, they are computed in the
        same batches wherever that is done, and equal to the last bit.
        """
        at = tf.data.Dataset.range(begin, end).batch(_AT_ONCE)
        for images in pipeline.views_at(at, self._source, self._views, self._settings.seed):
            images = images.numpy()
            yield images, np.asarray(self._to_keep(images / np.float32(255)))

    @functools.cached_property
    def _to_keep(self) -> Callable[[np.ndarray], tf.Tensor]:
        return tf.function(self._stem) if self._stem.in_graph else self._stem


def open_examples(
    feature: Feature, source: Source, settings: Settings, cache: str | pathlib.Path | None = None
) -> Examples:
    """Cached examples if the settings ask for cached views, else fresh ones.

    Args:
      feature: the representation.
      source: photographs to train on.
      settings: how.
      cache: the folder for caches; needed if, and only if, views are to be cached.

    Raises:
      InputError: one is given without the other; or see `Examples`.
    """
    if bool(settings.cached_views) != bool(cache):
        raise InputError(
            "caching takes both a folder (cache) and the number of fixed views of each photograph "
            f"(cached_views). Received: cache={cache}, cached_views={settings.cached_views}"
        )
    if cache and settings.train_encoder:
        raise InputError("a trained encoder's features change, so they cannot be cached")
    if cache:
        return CachedExamples(feature, source, settings, cache)
    return Examples(feature, source, settings)
