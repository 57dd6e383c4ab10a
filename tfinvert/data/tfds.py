"""Image data sets of TensorFlow Datasets."""

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
    """A TFDS data set whose examples have an `image` (or another feature of type Image).

    TFDS downloads and prepares the data set if necessary.

    Args:
      name: NAME or NAME/CONFIG.
      split: "training" is the TFDS split "train"; "validation" is the split "validation" or "test"
        or, if there is neither, the last 5 % of "train"; "all" is the split "train".
      image_cache: cache for the decoded training images; by default a new one.

    Raises:
      InputError: the data set does not exist, cannot be prepared, or has no images.
    """

    def __init__(self, name: str, split: str = "all", image_cache: DecodedImageCache | None = None):
        self.name = f"tfds:{name}"
        self.image_cache = DecodedImageCache() if image_cache is None else image_cache
        self._lock = threading.Lock()
        try:
            self._builder = tfds.builder(name)
            self._builder.download_and_prepare()
        except Exception as error:  # data sets run code of their own, which may raise anything
            raise InputError(
                f"cannot prepare the TFDS data set {name!r}: {first_line(error)}"
            ) from error
        self._key = _find_image_key(self._builder.info, name)
        self._split = _find_split(self._builder.info, split, name)
        self._count = self._builder.info.splits[self._split].num_examples
        if not self._count:
            raise InputError(f"{self.name}: the split {self._split!r} is empty")

    def __len__(self) -> int:
        return self._count

    @property
    def evaluation_size(self) -> int:
        """The size of the split."""
        return self._count

    def training_image(self, index: int) -> np.ndarray:
        """See `Source.training_image`; the first call decodes all images in file order."""
        with self._lock:
            if len(self.image_cache) < self._count:
                # Continues where an earlier call failed, if one did.
                remaining = self.evaluation_images().skip(len(self.image_cache))
                for image in remaining.as_numpy_iterator():
                    self.image_cache.append(image)
                if len(self.image_cache) != self._count:
                    raise InputError(
                        f"{self.name}: the split {self._split!r} must have {self._count} images; "
                        f"prepare the data set again. Received: {len(self.image_cache)}"
                    )
        return self.image_cache[index]

    def evaluation_images(self) -> tf.data.Dataset:
        """See `Source.evaluation_images`."""
        return self._column(self._key).map(
            self.decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    @property
    def classes(self) -> list[str]:
        """See `Source.classes`; those of the feature `label`."""
        kind = dict(self._builder.info.features.items()).get(_LABEL)
        if not isinstance(kind, tfds.features.ClassLabel):
            return super().classes
        return list(kind.names)

    def evaluation_labels(self) -> np.ndarray:
        """See `Source.evaluation_labels`."""
        _ = self.classes  # raises if there are none
        labels = self._column(_LABEL).map(lambda label: tf.cast(label, tf.int64))
        labels = np.fromiter(labels.as_numpy_iterator(), np.int64)
        if (labels < 0).any():
            raise InputError(f"{self.name}: some images of the split {self._split!r} have no class")
        return labels

    def encoded_images(self, begin: int, end: int) -> tf.data.Dataset:
        """The encoded images [begin, end) of the split "train", strings."""
        return self._column(self._key, f"train[{begin}:{end}]")

    def identity(self) -> str:
        """See `Source.identity`; computed from names, sizes and times of the prepared files."""
        stats = [
            (f.name, f.stat()) for f in sorted(pathlib.Path(self._builder.data_path).iterdir())
        ]
        files = [f"{name} {stat.st_size} {stat.st_mtime_ns}".encode() for name, stat in stats]
        return compute_digest([self._builder.info.full_name.encode(), self._split.encode(), *files])

    def _column(self, key: str, split: str | None = None) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=split or self._split,
            shuffle_files=False,
            decoders={self._key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        return examples.map(lambda example: example[key])

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes an image of `encoded_images`: uint8 `[H, W, 3]`."""
        kind = self._builder.info.features[self._key]
        return _to_rgb(kind.decode_example(encoded))


def _find_image_key(info: tfds.core.DatasetInfo, name: str) -> str:
    images = [
        key
        for key, kind in info.features.items()
        if type(kind) is tfds.features.Image and kind.np_dtype in (np.uint8, np.uint16)
    ]
    if not images:
        raise InputError(f"tfds:{name} has no images; its features are {', '.join(info.features)}")
    return "image" if "image" in images else images[0]


def _find_split(info: tfds.core.DatasetInfo, split: str, name: str) -> str:
    if "train" not in info.splits:
        raise InputError(
            f"tfds:{name} has no split 'train'; its splits are {', '.join(info.splits)}"
        )
    held_out = next((s for s in ("validation", "test") if s in info.splits), None)
    if split == "validation":
        return held_out or "train[95%:]"
    return "train[:95%]" if split == "training" and held_out is None else "train"


def _to_rgb(image: tf.Tensor) -> tf.Tensor:
    if image.dtype == tf.uint16:
        image = tf.cast(tf.round(tf.cast(image, tf.float32) / 257.0), tf.uint8)
    channels = image.shape[-1]
    if channels == 4:  # composited onto white
        alpha = tf.cast(image[..., 3:], tf.float32) / 255.0
        colors = tf.cast(image[..., :3], tf.float32)
        image = tf.cast(tf.round(255.0 + alpha * (colors - 255.0)), tf.uint8)
    elif channels == 1:
        image = tf.repeat(image, 3, axis=-1)
    return tf.ensure_shape(image, (None, None, 3))
