"""Views of photographs and their features on disk, for features that are slow to compute."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.data.order import WHOLE, Part, batches_of_indices
from tfinvert.errors import InputError
from tfinvert.files import atomic_directory, write_json

FORMAT = 1
CARD, IMAGES, OFFSETS, FEATURES = "cache.json", "images.raw", "offsets.npy", "features.zlib"

Batches = Iterable[tuple[np.ndarray, np.ndarray]]


class FeatureCache:
    """A whole cache, opened to be read; any number of threads and processes may.

    Features are compressed one by one without loss, which makes little of those that are mostly
    zero: a SIFT grid of 136 KB takes about 9.

    Args:
      path: what `open_cache` wrote.

    Attributes:
      path: the directory.
      card: the key it was written for, and what is in it.
      size: bytes on disk.

    Raises:
      InputError: a file is missing, damaged, or of another version.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self.card = json.loads((path / CARD).read_text(encoding="utf-8"))
            if self.card.get("format") != FORMAT:
                raise ValueError(f"format {self.card.get('format')}, this version has {FORMAT}")
            self._shape = tuple(self.card["feature_shape"])
            views = np.memmap(path / IMAGES, np.uint8, "r")
            self._images = views.reshape(self.card["count"], *self.card["image_shape"])
            self._offsets = np.load(path / OFFSETS, allow_pickle=False)
            self._features = np.memmap(path / FEATURES, np.uint8, "r")
            if len(self._images) != len(self._offsets) - 1:
                raise ValueError(f"{OFFSETS} is not whole")
            if len(self._features) != self._offsets[-1]:
                raise ValueError(f"{FEATURES} is not whole")
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the cache {path} is damaged: {error}; delete it") from error
        self.size = _size(path)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views uint8 `[n, H, W, 3]` and their features float32 `[n, *shape]`.

        Raises:
          InputError: a feature on disk is damaged.
        """
        features = np.empty((len(indices), *self._shape), np.float32)
        for row, index in zip(features, indices, strict=True):
            begin, end = self._offsets[index : index + 2]
            try:
                values = np.frombuffer(zlib.decompress(self._features[begin:end]), np.float32)
                row[...] = values.reshape(self._shape)
            except (zlib.error, ValueError) as error:
                raise InputError(f"the cache {self.path} is damaged: {error}; delete it") from error
        return self._images[indices], features

    def batches(
        self, batch_size: int, seed: int, start_step: int = 0, part: Part = WHOLE
    ) -> tf.data.Dataset:
        """Endless batches `(images [B, H, W, 3] float32 in [0, 1], features [B, *shape])`.

        Every epoch has its own order, fixed by (seed, epoch); `start_step` batches are left out,
        and of every batch all but the `part` (index, of).
        """

        def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, features = tf.numpy_function(self.read, [indices], (tf.uint8, tf.float32))
            images = tf.ensure_shape(images, (*indices.shape, *self._images.shape[1:]))
            features = tf.ensure_shape(features, (*indices.shape, *self._shape))
            return tf.cast(images, tf.float32) / 255.0, features

        return (
            batches_of_indices(len(self), seed, batch_size, start_step, part)
            .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )


def open_cache(
    folder: str | os.PathLike[str],
    name: str,
    key: Mapping[str, Any],
    count: int,
    compute: Callable[[], Batches],
) -> FeatureCache:
    """The cache for a key; computed and written first where there is none.

    The directory's name is a digest of the key, so a cache is found again only if everything that
    determines its content is the same. It appears under that name only when it is whole.

    Args:
      folder: where caches lie; made if missing.
      name: how the directory's name begins, for people.
      key: everything that determines the content, as JSON values.
      count: views to keep.
      compute: gives batches of views, uint8 `[B, H, W, 3]`, and their features, float32
        `[B, ...]`, at least `count` in all; called only if they are needed.

    Raises:
      InputError: the folder cannot be written or is full, the cache found is damaged, or a feature
        is not finite.
    """
    key = {"format": FORMAT, "count": count, **key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path = pathlib.Path(folder) / f"{name.replace('/', '_')}-{digest}"
    if path.exists():
        cache = FeatureCache(path)
        print(f"{len(cache)} cached views, {_gigabytes(cache.size)}: {path}")
        return cache
    begin = time.perf_counter()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have been faster; then its cache is as good.
        with contextlib.suppress(FileExistsError), atomic_directory(path) as directory:
            _write(directory, key, count, compute())
    except OSError as error:
        raise InputError(
            f"the cache {path} cannot be written: {error.strerror or error}; nothing is left of it"
        ) from error
    cache = FeatureCache(path)
    seconds = time.perf_counter() - begin
    print(
        f"{count} views cached in {seconds:.0f} s ({count / seconds:.0f} images/s), "
        f"{_gigabytes(cache.size)}: {path}"
    )
    return cache


def _write(directory: pathlib.Path, key: Mapping[str, Any], count: int, batches: Batches) -> None:
    offsets, shapes = [0], {}
    # Plain files and not memory maps, which would end the process where the disk is full.
    with (
        (directory / IMAGES).open("wb") as views,
        (directory / FEATURES).open("wb") as compressed,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for images, features in _first(count, batches):
            if not np.isfinite(features).all():
                raise InputError("a feature is not finite, so it is not cached")
            shapes = {"image_shape": images.shape[1:], "feature_shape": features.shape[1:]}
            views.write(np.ascontiguousarray(images, np.uint8))
            rows = (np.ascontiguousarray(row, np.float32) for row in features)
            for data in pool.map(lambda row: zlib.compress(row, 1), rows):
                compressed.write(data)
                offsets.append(offsets[-1] + len(data))
    np.save(directory / OFFSETS, np.array(offsets, np.int64))
    write_json(directory / CARD, {**key, **shapes})


def _first(count: int, batches: Batches) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for images, features in batches:
        yield images[:count], features[:count]
        count -= len(images)
        if count <= 0:
            return


def _size(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
