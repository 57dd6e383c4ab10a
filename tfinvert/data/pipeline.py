"""Batches of images from sources, at the size that a feature takes."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfinvert.data.augmentation import RandomAugmentation, Size
from tfinvert.data.mixture import MixtureAugmentation
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard, batch_indices, batch_positions
from tfinvert.data.sources import Source
from tfinvert.errors import InputError


def training_batches(
    source: Source,
    augmentation: RandomAugmentation | MixtureAugmentation,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    shard: BatchShard = WHOLE_BATCH,
) -> tf.data.Dataset:
    """Infinite batches of augmented images.

    The view of an image depends only on (seed, position). A run that resumes at `start_step`
    therefore gets the batches of an uninterrupted run, and workers that each take a shard together
    get the batches of a single worker.

    Args:
      source: the image source.
      augmentation: the random augmentation.
      batch_size: images per batch, over all shards.
      seed: seed of the shuffling and the augmentation.
      start_step: batches to skip.
      shard: (index, num_shards): the shard of each batch to return.

    Returns:
      `[batch_size / num_shards, *augmentation.size, 3]` in [0, 1].
    """
    positions = batch_positions(batch_size, start_step, shard)
    images = augmented_batches(positions, source, augmentation, seed)
    scaled = images.map(lambda batch: tf.cast(batch, tf.float32) / 255.0, num_parallel_calls=2)
    return scaled.prefetch(2)


def augmented_batches(
    positions: tf.data.Dataset,
    source: Source,
    augmentation: RandomAugmentation | MixtureAugmentation,
    seed: int,
) -> tf.data.Dataset:
    """Augmented images at stream positions: int64 `[B]` to uint8 `[B, *augmentation.size, 3]`."""

    def cut_views(batch: np.ndarray) -> np.ndarray:
        images = [source.training_image(index) for index in source.indices_at(seed, batch)]
        return augmentation.apply(images, batch, seed)

    def load(batch: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(cut_views, [batch], tf.uint8)
        return tf.ensure_shape(images, (*batch.shape, *augmentation.size, 3))

    # Two batches at a time, so that uncached images are decoded in parallel.
    return positions.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def stored_batches(
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    count: int,
    shapes: tuple[Sequence[int], Sequence[int]],
    batch_size: int,
    seed: int,
    start_step: int = 0,
    shard: BatchShard = WHOLE_BATCH,
) -> tf.data.Dataset:
    """Infinite batches of images that are stored together with their features.

    Every epoch is shuffled differently, as determined by (seed, epoch).

    Args:
      read: from indices `[n]` to images, uint8 `[n, H, W, 3]`, and features, float32.
      count: number of images.
      shapes: shape of an image and of its feature.
      batch_size: images per batch, over all shards.
      seed: seed of the shuffling.
      start_step: batches to skip.
      shard: (index, num_shards): the shard of each batch to return.

    Returns:
      Images `[B, H, W, 3]` float32 in [0, 1] and features, float32.
    """

    def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, features = tf.numpy_function(read, [indices], (tf.uint8, tf.float32))
        images = tf.ensure_shape(images, (*indices.shape, *shapes[0]))
        features = tf.ensure_shape(features, (*indices.shape, *shapes[1]))
        return tf.cast(images, tf.float32) / 255.0, features

    return (
        batch_indices(count, seed, batch_size, start_step, shard)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(
    source: Source, size: Size, batch_size: int, every: int = 1
) -> tf.data.Dataset:
    """One pass over the largest central crops of the images, resized to (height, width) `size`.

    Args:
      source: the image source.
      size: (height, width) of the batches.
      batch_size: images per batch; the last batch may be smaller.
      every: take only every `every`-th image.

    Returns:
      `[B, *size, 3]` in [0, 1].
    """
    return (
        source.evaluation_images()
        .shard(every, 0)
        .map(lambda image: center_crop_and_resize(image, size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def center_crop_and_resize(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes the largest central crop: uint8 `[H, W, 3]` to `[*size, 3]` in [0, 1].

    Values are rounded to multiples of 1/255, as an image file of that size would hold them and as
    training images are. LBP compares neighbouring pixels, and rounding makes some of them equal.
    """
    crop = _largest_crop(image, size)
    return _crop_and_resize(image, (tf.shape(image, tf.int64)[:2] - crop) // 2, crop, size)


@contextlib.contextmanager
def convert_pipeline_errors() -> Iterator[None]:
    """Converts errors raised inside a tf.data pipeline into one-line `InputError`s."""
    try:
        yield
    except tf.errors.OpError as error:  # the Python error is a line in the middle of the message
        found = re.search(r"\w*Error: .*", error.message)
        reason = found[0] if found else error.message.splitlines()[0]
        raise InputError(f"the input pipeline failed: {reason}") from error


def _largest_crop(image: tf.Tensor, size: Size) -> tf.Tensor:
    """(height, width) of the largest crop with the aspect ratio of `size`: int64 `[2]`."""
    extent = tf.shape(image, tf.int64)[:2]
    target = tf.constant(size, tf.int64)
    return tf.maximum(tf.minimum(extent, extent[::-1] * target // target[::-1]), 1)


def _crop_and_resize(image: tf.Tensor, corner: tf.Tensor, crop: tf.Tensor, size: Size) -> tf.Tensor:
    top, left = tf.unstack(tf.cast(corner, tf.int32))
    height, width = tf.unstack(tf.cast(crop, tf.int32))
    cropped = tf.cast(image[top : top + height, left : left + width], tf.float32) / 255.0
    resized = tf.image.resize(cropped, size, antialias=True)  # bilinear; a no-op at equal size
    rounded = tf.round(255.0 * tf.clip_by_value(resized, 0.0, 1.0)) / 255.0
    return tf.ensure_shape(rounded, (*size, 3))
