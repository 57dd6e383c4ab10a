"""The interface of image sources."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.shuffling import shuffled_indices
from tfinvert.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class Source(abc.ABC):
    """A collection of images in a reproducible order.

    Attributes:
      name: the `--data` value of the source.
      min_crop: the default smallest random training crop for these images, as a fraction of the
        largest crop.
      jitter: the default strength of colour jitter in training, in [0, 1].
      image_cache: the cache of decoded training images; None or empty if they are not cached.
    """

    name: str
    min_crop: float = 0.6
    jitter: float = 0.0
    image_cache: DecodedImageCache | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of training images in an epoch."""

    @property
    @abc.abstractmethod
    def evaluation_size(self) -> int:
        """The number of images in `evaluation_images`."""

    def indices_at(self, seed: int, positions: np.ndarray) -> np.ndarray:
        """Returns the indices of the training images at positions of the stream: int64 `[n]`.

        They are a pure function of (seed, position); positions count over all epochs.
        """
        return shuffled_indices(len(self), seed, positions)

    @abc.abstractmethod
    def training_image(self, index: int) -> np.ndarray:
        """Returns a training image, uint8 `[H, W, 3]`; called from several threads.

        If images are cached, the cached image is returned, which may be smaller than the original.
        """

    def release(self) -> None:
        """Clears the cache of decoded images; they are decoded again when they are needed."""
        if self.image_cache is not None:
            self.image_cache.clear()

    @abc.abstractmethod
    def evaluation_images(self) -> tf.data.Dataset:
        """One pass over the images in the order of the collection: uint8 `[H, W, 3]`."""

    @property
    def classes(self) -> list[str]:
        """The class names; a label is an index into this list.

        Raises:
          InputError: the images have no classes.
        """
        raise self._no_classes_error()

    def evaluation_labels(self) -> np.ndarray:
        """Returns the labels of `evaluation_images`, which are also those of the training images.

        Returns:
          int64 `[evaluation_size]`.

        Raises:
          InputError: the images have no classes, or an image has none.
        """
        raise self._no_classes_error()

    @abc.abstractmethod
    def identity(self) -> str:
        """Returns a digest that changes whenever the images or their order change."""

    def _no_classes_error(self) -> InputError:
        return InputError(
            f"{self.name} has no classes; a classifier needs a folder with a sub-folder per class, "
            "or a TFDS data set with a label of type ClassLabel"
        )


def compute_digest(parts: Iterable[bytes]) -> str:
    """Returns the SHA-256 digest of byte strings, each preceded by its length, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


class IndexedSource(Source):
    """A source with random access to its images; subclasses implement `image(index)`."""

    @property
    def evaluation_size(self) -> int:
        """See `Source.evaluation_size`."""
        return len(self)

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Returns an image, uint8 `[H, W, 3]`; called from several threads."""

    def training_image(self, index: int) -> np.ndarray:
        """See `Source.training_image`."""
        return self.image_cache[index] if self.image_cache else self.image(index)

    def evaluation_images(self) -> tf.data.Dataset:
        """See `Source.evaluation_images`."""
        import tensorflow as tf

        return tf.data.Dataset.range(len(self)).map(
            self._load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def identity(self) -> str:
        """See `Source.identity`; computed from the pixels."""
        images = map(self.image, range(len(self)))
        return compute_digest(
            part for i in images for part in (repr(i.shape).encode(), i.tobytes())
        )

    def _load(self, index: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        image = tf.numpy_function(lambda i: self.image(int(i)), [index], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3))
