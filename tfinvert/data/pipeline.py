"""Sources → batches of images at the size a feature takes."""

import contextlib
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfinvert.data.augmentation import RandomAugmentation, Size
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard, batch_positions, shuffled_indices
from tfinvert.data.sources import Source
from tfinvert.errors import InputError


def training_batches(
    source: Source,
    views: RandomAugmentation,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    part: BatchShard = WHOLE_BATCH,
) -> tf.data.Dataset:
    """Endless batches of random views: `[batch_size / of, *views.size, 3]` in [0, 1].

    Which view an image gets depends on (seed, position) alone, so a run that starts at `start_step`
    sees what an unbroken run would have seen, and workers that each take a part see together what
    one alone would.

    Args:
      source: the photographs.
      views: how they are cut.
      batch_size: images a batch, over all parts.
      seed: of order and views.
      start_step: batches to leave out.
      part: (index, of): which of so many equal parts of every batch.
    """
    images = augmented_batches(batch_positions(batch_size, start_step, part), source, views, seed)
    scaled = images.map(lambda cut: tf.cast(cut, tf.float32) / 255.0, num_parallel_calls=2)
    return scaled.prefetch(2)


def augmented_batches(
    batches: tf.data.Dataset, source: Source, views: RandomAugmentation, seed: int
) -> tf.data.Dataset:
    """The views at some positions: batches of int64 `[B]` become uint8 `[B, *views.size, 3]`."""

    def cut(at: np.ndarray) -> np.ndarray:
        photos = [source.photograph(index) for index in shuffled_indices(len(source), seed, at)]
        return views.cut(photos, at, seed)

    def load(at: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(cut, [at], tf.uint8)
        return tf.ensure_shape(images, (*at.shape, *views.size, 3))

    # Two batches at once: decoding, where photographs are not held, goes on in both.
    return batches.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def evaluation_batches(
    source: Source, size: Size, batch_size: int, every: int = 1
) -> tf.data.Dataset:
    """Every image, or every so many-th, once: its largest central crop shaped like `size`.

    Returns:
      `[B, *size, 3]` in [0, 1]; the last batch may be smaller.
    """
    return (
        source.once()
        .shard(every, 0)
        .map(lambda image: center_crop_and_resize(image, size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def center_crop_and_resize(image: tf.Tensor, size: Size) -> tf.Tensor:
    """The largest central crop, resized: uint8 `[H, W, 3]` becomes `[*size, 3]` in [0, 1].

    In steps of 1/255, as a file of that size would hold it and as views for training are: LBP
    compares neighbouring pixels, and rounding makes some of them equal.
    """
    crop = _largest_crop(image, size)
    return _cut(image, (tf.shape(image, tf.int64)[:2] - crop) // 2, crop, size)


@contextlib.contextmanager
def convert_pipeline_errors() -> Iterator[None]:
    """Turns what fails inside a tf.data pipeline, file or function, into an InputError."""
    try:
        yield
    except tf.errors.OpError as error:  # what Python raised is a line in the middle of its text
        found = re.search(r"\w*Error: .*", error.message)
        reason = found[0] if found else error.message.splitlines()[0]
        raise InputError(f"the input pipeline failed: {reason}") from error


def _largest_crop(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Height and width of the largest crop shaped like `size`, in whole pixels: int64 `[2]`."""
    extent = tf.shape(image, tf.int64)[:2]
    wanted = tf.constant(size, tf.int64)
    return tf.maximum(tf.minimum(extent, extent[::-1] * wanted // wanted[::-1]), 1)


def _cut(image: tf.Tensor, corner: tf.Tensor, crop: tf.Tensor, size: Size) -> tf.Tensor:
    top, left = tf.unstack(tf.cast(corner, tf.int32))
    height, width = tf.unstack(tf.cast(crop, tf.int32))
    cut = tf.cast(image[top : top + height, left : left + width], tf.float32) / 255.0
    resized = tf.image.resize(cut, size, antialias=True)  # bilinear; a no-op at the same size
    stored = tf.round(255.0 * tf.clip_by_value(resized, 0.0, 1.0)) / 255.0
    return tf.ensure_shape(stored, (*size, 3))
