"""Where photographs come from: the contract every source keeps."""

import abc
import hashlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError


class Source(abc.ABC):
    """A collection of photographs in a reproducible order.

    Attributes:
      name: what `--data` called it.
      min_crop: the smallest random training crop, as a fraction of the image's shorter side, that
        suits these images.
      jitter: how strongly colours, contrast and brightness should vary in training, in [0, 1].
    """

    name: str
    min_crop: float = 0.6
    jitter: float = 0.0

    @abc.abstractmethod
    def __len__(self) -> int:
        """Images in an epoch of `stream`."""

    @property
    @abc.abstractmethod
    def evaluation_size(self) -> int:
        """Images of `once`."""

    @abc.abstractmethod
    def stream(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """Endless training images: `(position int64, image uint8 [H, W, 3])`.

        Every epoch has its own order, fixed by (seed, epoch). `position` counts from 0 over all
        epochs; `start` begins there, and what follows is what would have followed without a break.
        """

    @abc.abstractmethod
    def once(self) -> tf.data.Dataset:
        """Every image once, in the collection's own order: uint8 `[H, W, 3]`."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is a position in this list.

        Raises:
          InputError: the images have no classes.
        """
        raise self._no_classes()

    def stream_labels(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """The labels, int64, of the images of `stream(seed, start)`, which are not decoded.

        Raises:
          InputError: the images have no classes.
        """
        raise self._no_classes()

    def once_labels(self) -> np.ndarray:
        """The labels of the images of `once`: int64 `[evaluation_size]`.

        Raises:
          InputError: the images have no classes, or one of them has none.
        """
        raise self._no_classes()

    def augmentation(self, min_crop: float | None, jitter: float | None) -> tuple[float, float]:
        """Smallest crop and jitter as asked for or, where that is None, as suits these images."""
        return (
            self.min_crop if min_crop is None else min_crop,
            self.jitter if jitter is None else jitter,
        )

    @abc.abstractmethod
    def identity(self) -> str:
        """A digest of the images and their order: another one as soon as one of them changes."""

    def _no_classes(self) -> InputError:
        return InputError(
            f"{self.name} has no classes; classifiers take a folder with a sub-folder for each "
            "class, or a TFDS data set with a label of type ClassLabel"
        )


def shuffled(count: int, seed: int, start: int = 0) -> tf.data.Dataset:
    """Endless epochs over `count` things: `(position, index)`, both int64.

    Every epoch has its own order, fixed by (seed, epoch). `position` counts from `start` over all
    epochs.
    """

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=tf.stack([np.int64(seed), number])
        )
        return tf.data.Dataset.from_tensor_slices(order)

    epochs = tf.data.Dataset.range(start // count, np.iinfo(np.int64).max)
    indices = epochs.flat_map(epoch).skip(start % count)
    return tf.data.Dataset.zip(tf.data.Dataset.counter(start=start), indices)


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over byte strings, each with its length, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


class IndexedSource(Source):
    """A source with random access to its images; subclasses give `image(index)`."""

    @property
    def evaluation_size(self) -> int:
        """See `Source.evaluation_size`."""
        return len(self)

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """One image, uint8 `[H, W, 3]`; called from several threads at once."""

    def stream(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """See `Source.stream`; images before `start` are never decoded."""
        return shuffled(len(self), seed, start).map(
            lambda position, index: (position, self._load(index)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def once(self) -> tf.data.Dataset:
        """See `Source.once`."""
        return tf.data.Dataset.range(len(self)).map(
            self._load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def stream_labels(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """See `Source.stream_labels`."""
        labels = tf.constant(self.once_labels())
        return shuffled(len(self), seed, start).map(lambda position, index: labels[index])

    def identity(self) -> str:
        """See `Source.identity`; from the pixels."""
        images = map(self.image, range(len(self)))
        return digest(part for i in images for part in (repr(i.shape).encode(), i.tobytes()))

    def _load(self, index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda i: self.image(int(i)), [index], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3))
