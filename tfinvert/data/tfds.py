"""Any image data set of TensorFlow Datasets."""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfinvert.data.sources import Source, digest
from tfinvert.errors import InputError, first_line

_SHUFFLE_BUFFER = 4096
_LABEL = "label"


class Tfds(Source):
    """A TFDS data set whose examples have an `image` (or one feature of type Image).

    The data set is downloaded and prepared by TFDS where it is not yet.

    Args:
      name: NAME or NAME/CONFIG.
      part: "training" is the split "train"; "validation" the split "validation" or "test", or,
        where there is neither, the last 5 % of "train"; "all" is the split "train".

    Raises:
      InputError: TFDS has no such data set, it cannot be had, or it has no images.
    """

    def __init__(self, name: str, part: str = "all"):
        self.name = f"tfds:{name}"
        try:
            self._builder = tfds.builder(name)
            self._builder.download_and_prepare()
        except Exception as error:  # a data set is a program of its own, and may raise anything
            reason = first_line(error)
            raise InputError(f"TFDS has no data set {name!r} to offer: {reason}") from error
        self._key = _image_key(self._builder.info, name)
        self._split = _split(self._builder.info, part, name)
        self._count = self._builder.info.splits[self._split].num_examples
        if not self._count:
            raise InputError(f"{self.name}: the split {self._split!r} is empty")

    def __len__(self) -> int:
        return self._count

    @property
    def evaluation_size(self) -> int:
        """The size of the split."""
        return self._count

    def stream(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """See `Source.stream`; shuffled with a buffer of 4 096, the files in a fixed order.

        Images before `start` are read and not decoded; nor are those in the buffer.
        """
        return self._shuffled(self._encoded(), seed, start).map(
            lambda position, image: (position, self._decode(image)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _shuffled(self, examples: tf.data.Dataset, seed: int, start: int) -> tf.data.Dataset:
        """`(position, example)` for ever; the order depends on the number of examples alone."""

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            # Of this function's graph alone: shuffle() would mix in the program's global seed,
            # and fails where that is 0.
            tf.random.set_seed(1)
            mixed = tf.random.stateless_uniform(
                (), tf.stack([np.int64(seed), number]), None, None, tf.int64
            )
            buffer = min(self._count, _SHUFFLE_BUFFER)
            return examples.shuffle(buffer, seed=mixed, reshuffle_each_iteration=False)

        epochs = tf.data.Dataset.range(start // self._count, np.iinfo(np.int64).max)
        ordered = epochs.flat_map(epoch).skip(start % self._count)
        return tf.data.Dataset.zip(tf.data.Dataset.counter(start=start), ordered)

    def once(self) -> tf.data.Dataset:
        """See `Source.once`."""
        return self._encoded().map(
            self._decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    @property
    def classes(self) -> list[str]:
        """See `Source.classes`; of the feature `label`."""
        kind = dict(self._builder.info.features.items()).get(_LABEL)
        if not isinstance(kind, tfds.features.ClassLabel):
            return super().classes
        return list(kind.names)

    def stream_labels(self, seed: int, start: int = 0) -> tf.data.Dataset:
        """See `Source.stream_labels`; the images are read for them, and not decoded."""
        shuffled = self._shuffled(self._labels(), seed, start)
        return shuffled.map(lambda position, label: label)

    def once_labels(self) -> np.ndarray:
        """See `Source.once_labels`."""
        labels = np.fromiter(self._labels().as_numpy_iterator(), np.int64)
        if (labels < 0).any():
            raise InputError(f"{self.name}: images of the split {self._split!r} have no class")
        return labels

    def identity(self) -> str:
        """See `Source.identity`; from names, sizes and times of the prepared files."""
        stats = [
            (f.name, f.stat()) for f in sorted(pathlib.Path(self._builder.data_path).iterdir())
        ]
        files = [f"{name} {stat.st_size} {stat.st_mtime_ns}".encode() for name, stat in stats]
        return digest([self._builder.info.full_name.encode(), self._split.encode(), *files])

    def _labels(self) -> tf.data.Dataset:
        _ = self.classes  # which refuses what has none
        return self._column(_LABEL).map(lambda label: tf.cast(label, tf.int64))

    def _encoded(self) -> tf.data.Dataset:
        return self._column(self._key)

    def _column(self, key: str) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=self._split,
            shuffle_files=False,
            decoders={self._key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        return examples.map(lambda example: example[key])

    def _decode(self, encoded: tf.Tensor) -> tf.Tensor:
        kind = self._builder.info.features[self._key]
        return _three_channels(kind.decode_example(encoded))


def _image_key(info: tfds.core.DatasetInfo, name: str) -> str:
    images = [
        key
        for key, kind in info.features.items()
        if type(kind) is tfds.features.Image and kind.np_dtype in (np.uint8, np.uint16)
    ]
    if not images:
        raise InputError(f"tfds:{name} has no images; its features are: {', '.join(info.features)}")
    return "image" if "image" in images else images[0]


def _split(info: tfds.core.DatasetInfo, part: str, name: str) -> str:
    if "train" not in info.splits:
        raise InputError(
            f"tfds:{name} has no split 'train'; its splits are: {', '.join(info.splits)}"
        )
    held_out = next((s for s in ("validation", "test") if s in info.splits), None)
    if part == "validation":
        return held_out or "train[95%:]"
    return "train[:95%]" if part == "training" and held_out is None else "train"


def _three_channels(image: tf.Tensor) -> tf.Tensor:
    if image.dtype == tf.uint16:
        image = tf.cast(tf.round(tf.cast(image, tf.float32) / 257.0), tf.uint8)
    channels = image.shape[-1]
    if channels == 4:  # laid on white
        alpha = tf.cast(image[..., 3:], tf.float32) / 255.0
        colours = tf.cast(image[..., :3], tf.float32)
        image = tf.cast(tf.round(255.0 + alpha * (colours - 255.0)), tf.uint8)
    elif channels == 1:
        image = tf.repeat(image, 3, axis=-1)
    return tf.ensure_shape(image, (None, None, 3))
