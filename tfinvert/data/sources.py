"""Where photographs come from: the contract every source keeps."""

import abc
import hashlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.errors import InputError


class Source(abc.ABC):
    """A collection of photographs in a reproducible order.

    Attributes:
      name: what `--data` called it.
      min_crop: the smallest random training crop, as a fraction of the image's shorter side, that
        suits these images.
      jitter: how strongly colours, contrast and brightness should vary in training, in [0, 1].
      held: the training images, decoded already; None or empty where they are not.
    """

    name: str
    min_crop: float = 0.6
    jitter: float = 0.0
    held: DecodedImageCache | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Training images in an epoch."""

    @property
    @abc.abstractmethod
    def evaluation_size(self) -> int:
        """Images of `once`."""

    @abc.abstractmethod
    def photograph(self, index: int) -> np.ndarray:
        """The training image of that index, uint8 `[H, W, 3]`; called from several threads.

        Of a held source (see `image_cache.DecodedImageCache`) as it is held, which may be smaller.
        """

    def release(self) -> None:
        """Lets go of photographs that are held: one that is asked for then is decoded anew."""
        if self.held is not None:
            self.held.clear()

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

    def once_labels(self) -> np.ndarray:
        """The labels of the images of `once`, or by index: int64 `[evaluation_size]`.

        Raises:
          InputError: the images have no classes, or one of them has none.
        """
        raise self._no_classes()

    @abc.abstractmethod
    def identity(self) -> str:
        """A digest of the images and their order: another one as soon as one of them changes."""

    def _no_classes(self) -> InputError:
        return InputError(
            f"{self.name} has no classes; classifiers take a folder with a sub-folder for each "
            "class, or a TFDS data set with a label of type ClassLabel"
        )


def compute_digest(parts: Iterable[bytes]) -> str:
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

    def photograph(self, index: int) -> np.ndarray:
        """See `Source.photograph`."""
        return self.held[index] if self.held else self.image(index)

    def once(self) -> tf.data.Dataset:
        """See `Source.once`."""
        return tf.data.Dataset.range(len(self)).map(
            self._load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def identity(self) -> str:
        """See `Source.identity`; from the pixels."""
        images = map(self.image, range(len(self)))
        return compute_digest(
            part for i in images for part in (repr(i.shape).encode(), i.tobytes())
        )

    def _load(self, index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda i: self.image(int(i)), [index], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3))
