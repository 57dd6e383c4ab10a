"""What a run trains on: views of photographs and, where the device does not compute them, features.

`Examples` computes features anew for every view; `CachedExamples` reads them from disk.
"""

import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tqdm

from tfinvert.card import versions
from tfinvert.data import pipeline
from tfinvert.data.cache import FeatureCache, open_cache
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.sampling import evenly
from tfinvert.training.settings import Settings

STANDARDIZE_IMAGES = 2048
Part = tuple[int, int]
WHOLE = (0, 1)


class Examples:
    """Fresh views for ever, their features computed as they come.

    Args:
      feature: the representation.
      source: photographs to train on.
      settings: batch size, seed and augmentation.

    Raises:
      InputError: min_crop or jitter is out of range.
    """

    def __init__(self, feature: Feature, source: Source, settings: Settings):
        self._feature, self._source, self._settings = feature, source, settings
        Examples.images(self)  # refuses an augmentation that cannot be, before anything is written

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """The endless batches a run trains on, without the first `start_step`.

        `(images,)` for a feature that runs on the device, `(images, features)` for one that is
        computed here; images `[batch_size, *feature.image_shape]` in [0, 1].

        Args:
          start_step: batches to leave out.
          part: (index, of): of every batch the rows from index/of to (index + 1)/of alone.
        """
        images = rows(self.images(start_step), self._settings.batch_size, part)
        if self._feature.in_graph:
            return images
        return images.map(lambda batch: (batch, self._feature(batch))).prefetch(tf.data.AUTOTUNE)

    def images(self, start_step: int = 0) -> tf.data.Dataset:
        """The images of `batches` alone."""
        return pipeline.training_batches(
            self._source,
            self._feature.image_shape[:2],
            self._settings.batch_size,
            self._settings.seed,
            start_step=start_step,
            min_crop=self._settings.min_crop,
            jitter=self._settings.jitter,
            shift=self._settings.shift,
        )

    def features(self) -> Iterator[tf.Tensor]:
        """Batches of features to standardise on: of about 2 048 images, or of an epoch."""
        count = max(1, min(STANDARDIZE_IMAGES, len(self._source)) // self._settings.batch_size)
        # Eagerly, where a feature that is not as it says raises a plain error.
        return (self._feature(images) for images in self.images().take(count))


class CachedExamples(Examples):
    """As many fixed views of each photograph as the settings say, with their features, on disk.

    Where features begin alike, that part is what is kept, and one cache serves them all (see
    `Feature.stem`). Views are rounded to 8 bits, as a file would hold them, and features are those
    of the rounded views. They are found or made at first use, which raises what
    `data.cache.open_cache` does.
    Arguments as `Examples`, and:

    Args:
      folder: where caches lie.
    """

    def __init__(
        self, feature: Feature, source: Source, settings: Settings, folder: str | pathlib.Path
    ):
        super().__init__(feature, source, settings)
        self._folder = folder
        self._stem, self._rest = feature.stem()

    @functools.cached_property
    def cache(self) -> FeatureCache:
        """Every view and its feature, in the order of `Examples.images`."""
        feature, source, settings = self._stem, self._source, self._settings
        min_crop, jitter = source.augmentation(settings.min_crop, settings.jitter)
        key = {
            "feature": feature.identity(),
            "photographs": source.identity(),
            "seed": settings.seed,
            "min_crop": min_crop,
            "jitter": jitter,
            "shift": settings.shift,
            "versions": versions(),
        }
        count = settings.cached_views * len(source)
        return open_cache(self._folder, feature.name, key, count, lambda: self._compute(count))

    def batches(self, start_step: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """As `Examples.batches`, always `(images, features)`."""
        settings = self._settings
        stored = self.cache.batches(settings.batch_size, settings.seed, start_step)
        stored = rows(stored, settings.batch_size, part)
        return stored.map(lambda images, features: (images, self._rest(features)))

    def images(self, start_step: int = 0) -> tf.data.Dataset:
        """The images of `batches` alone."""
        return self.batches(start_step).map(lambda images, features: images)

    def features(self) -> Iterator[tf.Tensor]:
        """Batches of features to standardise on: of 2 048 evenly spaced views."""
        size = self._settings.batch_size
        indices = evenly(len(self.cache), STANDARDIZE_IMAGES)
        parts = (indices[i : i + size] for i in range(0, len(indices), size))
        return (self._rest(self.cache.read(part)[1]) for part in parts)

    def _compute(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        compute = tf.function(self._stem) if self._stem.in_graph else self._stem
        with tqdm.tqdm(total=count, unit="view", desc="caching", mininterval=1.0) as bar:
            for batch in super().images():
                images = np.round(batch.numpy() * 255).astype(np.uint8)
                yield images, np.asarray(compute(images / np.float32(255)))
                bar.update(len(images))


def rows(batches: tf.data.Dataset, batch_size: int, part: Part) -> tf.data.Dataset:
    """Of batches, as tuples, the rows of one part: see `Examples.batches`."""
    index, of = part
    begin, end = index * batch_size // of, (index + 1) * batch_size // of
    return batches.map(lambda *tensors: tuple(tensor[begin:end] for tensor in tensors))


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
