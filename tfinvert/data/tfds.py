"""Any image data set of TensorFlow Datasets."""

import pathlib
import threading

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.sources import Source, compute_digest
from tfinvert.errors import InputError, first_line

_LABEL = "label"


class TfdsSource(Source):
    """A TFDS data set whose examples have an `image` (or one feature of type Image).

    The data set is downloaded and prepared by TFDS where it is not yet.

    Args:
      name: NAME or NAME/CONFIG.
      part: "training" is the split "train"; "validation" the split "validation" or "test", or,
        where there is neither, the last 5 % of "train"; "all" is the split "train".
      held: where the images are kept when they are trained on.

    Raises:
      InputError: TFDS has no such data set, it cannot be had, or it has no images.
    """

    def __init__(self, name: str, part: str = "all", held: DecodedImageCache | None = None):
        self.name = f"tfds:{name}"
        self.held, self._lock = DecodedImageCache() if held is None else held, threading.Lock()
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

    def photograph(self, index: int) -> np.ndarray:
        """See `Source.photograph`; the first call decodes all images, in the order of the files."""
        with self._lock:
            if len(self.held) < self._count:
                # From where an earlier call failed, if one did.
                for image in self.once().skip(len(self.held)).as_numpy_iterator():
                    self.held.append(image)
                if len(self.held) != self._count:
                    raise InputError(
                        f"{self.name}: the split {self._split!r} should have {self._count} images, "
                        f"and has {len(self.held)}; prepare it anew"
                    )
        return self.held[index]

    def once(self) -> tf.data.Dataset:
        """See `Source.once`."""
        return self._column(self._key).map(
            self.decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    @property
    def classes(self) -> list[str]:
        """See `Source.classes`; of the feature `label`."""
        kind = dict(self._builder.info.features.items()).get(_LABEL)
        if not isinstance(kind, tfds.features.ClassLabel):
            return super().classes
        return list(kind.names)

    def once_labels(self) -> np.ndarray:
        """See `Source.once_labels`."""
        labels = np.fromiter(self._labels().as_numpy_iterator(), np.int64)
        if (labels < 0).any():
            raise InputError(f"{self.name}: images of the split {self._split!r} have no class")
        return labels

    def encoded(self, begin: int, end: int) -> tf.data.Dataset:
        """The images [begin, end) of the split "train" as they are stored: strings."""
        return self._column(self._key, f"train[{begin}:{end}]")

    def identity(self) -> str:
        """See `Source.identity`; from names, sizes and times of the prepared files."""
        stats = [
            (f.name, f.stat()) for f in sorted(pathlib.Path(self._builder.data_path).iterdir())
        ]
        files = [f"{name} {stat.st_size} {stat.st_mtime_ns}".encode() for name, stat in stats]
        return compute_digest([self._builder.info.full_name.encode(), self._split.encode(), *files])

    def _labels(self) -> tf.data.Dataset:
        _ = self.classes  # which refuses what has none
        return self._column(_LABEL).map(lambda label: tf.cast(label, tf.int64))

    def _column(self, key: str, split: str | None = None) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=split or self._split,
            shuffle_files=False,
            decoders={self._key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        return examples.map(lambda example: example[key])

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """What `encoded` gives → uint8 `[H, W, 3]`."""
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
