"""Sources → batches of images at the size a feature takes."""

import contextlib
import re
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfinvert.data.sources import Source
from tfinvert.errors import InputError

Size = tuple[int, int]


def training_batches(
    source: Source,
    size: Size,
    batch_size: int,
    seed: int,
    *,
    start_step: int = 0,
    min_crop: float | None = None,
    shift: int = 0,
    jitter: float | None = None,
) -> tf.data.Dataset:
    """Endless batches of random crops, mirrored half of the time: `[B, *size, 3]` in [0, 1].

    A crop has the shape of `size` and between `min_crop` and 1 of the largest such crop's side,
    and is resized with antialiasing. Which view an image gets depends on (seed, position) alone,
    so a run that starts at `start_step` sees what an unbroken run would have seen.

    Args:
      source: the photographs.
      size: (height, width) of the result.
      batch_size: images a batch.
      seed: of order and views.
      start_step: batches to leave out.
      min_crop: in (0, 1]; None takes what suits the source.
      shift: pixels of the result by which it is moved at random, at most, down or up and right or
        left; what comes in at the border is mirrored.
      jitter: how strongly hue, saturation, contrast and brightness vary, in [0, 1], with quarter
        turns of square images unless it is 0; None takes what suits the source.

    Raises:
      InputError: min_crop, shift or jitter is out of range.
    """
    smallest, strength = source.augmentation(min_crop, jitter)
    if not 0 < smallest <= 1:
        raise InputError(f"min_crop must be in (0, 1]. Received: {min_crop}")
    if not 0 <= shift < min(size):
        raise InputError(f"shift must be from 0 to below the image's sides. Received: {shift}")
    if not 0 <= strength <= 1:
        raise InputError(f"jitter must be in [0, 1]. Received: {jitter}")

    def view(position: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        key = tf.stack([np.int64(seed), position])
        crop = _random_view(image, size, smallest, key)
        if shift:
            crop = _shifted(crop, shift, key)
        return _jittered(crop, strength, key) if strength else crop

    return (
        source.stream(seed, start_step * batch_size)
        .map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


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
        .map(lambda image: central_view(image, size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def central_view(image: tf.Tensor, size: Size) -> tf.Tensor:
    """The largest central crop, resized: uint8 `[H, W, 3]` becomes `[*size, 3]` in [0, 1]."""
    crop = _largest_crop(image, size)
    return _cut(image, (tf.shape(image, tf.int64)[:2] - crop) // 2, crop, size)


def images_per_second(batches: tf.data.Dataset, seconds: float = 1.0) -> float:
    """Throughput of an input pipeline on its own, over about so many seconds after a warm-up."""
    iterator = iter(batches)
    with one_line_errors():
        next(iterator)
        count, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < seconds:
            batch = next(iterator, None)
            if batch is None:
                break
            count += len(batch[0] if isinstance(batch, tuple) else batch)
    return count / max(elapsed, 1e-9)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what fails inside a tf.data pipeline, file or function, into an InputError."""
    try:
        yield
    except tf.errors.OpError as error:  # what Python raised is a line in the middle of its text
        found = re.search(r"\w*Error: .*", error.message)
        reason = found[0] if found else error.message.splitlines()[0]
        raise InputError(f"the input pipeline failed: {reason}") from error


def _random_view(image: tf.Tensor, size: Size, smallest: float, seed: tf.Tensor) -> tf.Tensor:
    draw = tf.random.stateless_uniform((4,), seed)
    # Uniform in the logarithm: a crop of half the side is as likely as its enlargement is strong.
    scale = tf.exp(draw[0] * np.float32(np.log(smallest)))
    largest = tf.cast(_largest_crop(image, size), tf.float32)
    crop = tf.minimum(tf.maximum(tf.round(largest * scale), 1.0), largest)
    room = tf.cast(tf.shape(image)[:2], tf.float32) - crop
    view = _cut(image, tf.floor(draw[1:3] * (room + 1.0)), crop, size)
    return tf.where(draw[3] < 0.5, view, view[:, ::-1])


def _shifted(image: tf.Tensor, most: int, seed: tf.Tensor) -> tf.Tensor:
    key = tf.random.experimental.stateless_fold_in(seed, 1)
    corner = tf.random.stateless_uniform((2,), key, 0, 2 * most + 1, tf.int32)
    padded = tf.pad(image, [[most, most], [most, most], [0, 0]], "REFLECT")
    return tf.slice(padded, [corner[0], corner[1], 0], image.shape)


def _jittered(image: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    keys = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
    if image.shape[0] == image.shape[1]:  # quarter turns, as another way to be unlike the original
        image = tf.image.rot90(image, tf.random.stateless_uniform((), keys[4], 0, 4, tf.int32))
    image = tf.image.stateless_random_hue(image, 0.5 * strength, keys[0])
    image = tf.image.stateless_random_saturation(image, 1 - strength, 1 + 1e-6, keys[1])
    image = tf.image.stateless_random_contrast(image, 1 - strength / 2, 1 + strength / 2, keys[2])
    image = tf.image.stateless_random_brightness(image, 0.3 * strength, keys[3])
    return tf.clip_by_value(image, 0.0, 1.0)


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
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 1.0), (*size, 3))
