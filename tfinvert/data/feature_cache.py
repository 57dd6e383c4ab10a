"""Views of photographs and their features on disk, for features that are slow to compute.

A cache is a directory of ArrayRecord files, `views-00000-of-00008.arrayrecord`, and `feature_cache.json`,
which says what is in them. A record is one view: its pixels, uint8, and its feature, little-endian
float32, one after the other, with a checksum by ArrayRecord. They are compressed (zstd) where that
halves them, as it does with sparse features: a compressed view costs twice as much to read.
"""

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
import tqdm
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from tfinvert.common.files import atomic_directory, atomic_path, write_json
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard, batch_indices
from tfinvert.errors import InputError, first_line

FORMAT = 2
CARD_FILE = "cache.json"

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
Shape = tuple[int, ...]
ComputeViews = Callable[[int, int], Batches]
WriteShards = Callable[[pathlib.Path, int, ComputeViews], tuple[Shape, Shape]]

_WRITING = "group_size:1,"  # one view a chunk: a view is read without its neighbours
_READING = {
    "options": "readahead_buffer_size:0,max_parallelism:0",
    "file_reader_buffer_size": 2**12,
}
_SHARD_VIEWS, _MOST_SHARDS, _MULTIPLE = 512, 128, 64


class FeatureCache:
    """A whole cache, opened to be read; any number of threads and processes may.

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
            self.card = json.loads((path / CARD_FILE).read_text(encoding="utf-8"))
            _check_format(path, self.card)
            self._shapes = tuple(self.card["image_shape"]), tuple(self.card["feature_shape"])
            self._readers, counts = [], []
            for shard in self.card["shards"]:
                self._readers.append(_open_shard(path / shard["file"], shard))
                counts.append(shard["views"])
            self._ends = np.cumsum(counts)
            if not counts or self._ends[-1] != self.card["count"]:
                raise ValueError(
                    f"{CARD_FILE} counts {self.card['count']} views, its shards {counts}"
                )
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error
        self.size = _size(path)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views uint8 `[n, H, W, 3]` and their features float32 `[n, *shape]`.

        Raises:
          InputError: a record on disk is damaged.
        """
        indices = np.asarray(indices)
        image_shape, feature_shape = self._shapes
        images = np.empty((len(indices), *image_shape), np.uint8)
        features = np.empty((len(indices), *feature_shape), np.float32)
        pixels = int(np.prod(image_shape))
        shards = np.searchsorted(self._ends, indices, side="right")
        try:
            for shard in np.unique(shards):
                rows = np.flatnonzero(shards == shard)
                begin = self._ends[shard - 1] if shard else 0
                records = self._readers[shard].read((indices[rows] - begin).tolist())
                for row, record in zip(rows, records, strict=True):
                    images[row] = np.frombuffer(record, np.uint8, pixels).reshape(image_shape)
                    values = np.frombuffer(record, "<f4", offset=pixels)
                    features[row] = values.reshape(feature_shape)
        except (RuntimeError, ValueError) as error:
            raise self._damaged(error) from error
        return images, features

    def batches(
        self, batch_size: int, seed: int, start_step: int = 0, part: BatchShard = WHOLE_BATCH
    ) -> tf.data.Dataset:
        """Endless batches `(images [B, H, W, 3] float32 in [0, 1], features [B, *shape])`.

        Every epoch has its own order, fixed by (seed, epoch); `start_step` batches are left out,
        and of every batch all but the `part` (index, of).
        """

        def load(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, features = tf.numpy_function(self.read, [indices], (tf.uint8, tf.float32))
            images = tf.ensure_shape(images, (*indices.shape, *self._shapes[0]))
            features = tf.ensure_shape(features, (*indices.shape, *self._shapes[1]))
            return tf.cast(images, tf.float32) / 255.0, features

        return (
            batch_indices(len(self), seed, batch_size, start_step, part)
            .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"the cache {self.path} is damaged: {first_line(error)}; delete it")


def open_cache(
    folder: str | os.PathLike[str],
    name: str,
    key: Mapping[str, Any],
    count: int,
    compute: ComputeViews,
    fill: WriteShards | None = None,
) -> FeatureCache:
    """The cache for a key; computed and written first where there is none.

    The directory's name is a digest of the key, so a cache is found again only if everything that
    determines its content is the same. It appears under that name only when it is whole.

    Args:
      folder: where caches lie; made if missing.
      name: how the directory's name begins, for people.
      key: everything that determines the content, as JSON values.
      count: views to keep.
      compute: gives the views [begin, end) in batches, uint8 `[B, H, W, 3]`, and their features,
        float32 `[B, ...]`; called only if they are needed.
      fill: writes the files of `shards_of(count)` with what `compute` gives and returns the shapes
        of a view and of its feature; `write_shards` unless given.

    Raises:
      InputError: the folder cannot be written or is full, the cache found is damaged, a feature is
        not finite, or the folder is itself a cache.
    """
    folder = pathlib.Path(folder)
    if (folder / CARD_FILE).exists():
        raise InputError(f"{folder} is a cache itself; give the folder that it lies in")
    key = {"format": FORMAT, "count": count, **key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{name.replace('/', '_')}-{digest}"
    if path.exists():
        cache = FeatureCache(path)
        print(f"{len(cache)} cached views, {_gigabytes(cache.size)}: {path}")
        return cache
    for older in _of_another_format(folder, path.name.rpartition("-")[0]):
        print(f"{older}; one of this version is made beside it")
    begin = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may have been faster; then its cache is as good.
        with contextlib.suppress(FileExistsError), atomic_directory(path) as directory:
            shapes = (fill or write_shards)(directory, count, compute)
            _finish(directory, key, count, shapes)
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


def shard_ranges(count: int) -> dict[str, tuple[int, int]]:
    """The files of a cache of so many views, each with the views [begin, end) it holds.

    Every `begin` is a multiple of 64.
    """
    size = max(_SHARD_VIEWS, -(-count // _MOST_SHARDS))
    size = -(-size // _MULTIPLE) * _MULTIPLE
    begins = range(0, count, size)
    return {
        f"views-{index:05d}-of-{len(begins):05d}.arrayrecord": (begin, min(begin + size, count))
        for index, begin in enumerate(begins)
    }


def write_shard(path: pathlib.Path, count: int, batches: Batches) -> tuple[Shape, Shape]:
    """Writes one file of a cache, whole or not at all.

    Args:
      path: the file.
      count: views to write, which is as many as there must be.
      batches: of views and features, as `compute` of `open_cache` gives them.

    Returns:
      The shapes of a view and of its feature.

    Raises:
      InputError: a feature is not finite.
      OSError: the file cannot be written.
      ValueError: there are fewer or more views.
    """
    with atomic_path(path) as temporary:
        writer, written, shapes = None, 0, ((), ())
        try:
            for images, features in batches:
                if not np.isfinite(features).all():
                    raise InputError("a feature is not finite, so it is not cached")
                shapes = images.shape[1:], features.shape[1:]
                for image, feature in zip(images, features, strict=True):
                    view = image.astype(np.uint8).tobytes() + feature.astype("<f4").tobytes()
                    writer = writer or _writer(temporary, view)
                    writer.write(view)
                    written += 1
            if writer is not None:
                writer.close()
        except RuntimeError as error:
            if writer is None or writer.ok():
                raise  # not of the writer but of what computes
            raise _os_error(error) from error
        if written != count:
            raise ValueError(f"{path.name} should have {count} views and was given {written}")
    return shapes


def _writer(path: pathlib.Path, view: bytes) -> ArrayRecordWriter:
    """Of a file of views like that one."""
    compression = "zstd:1" if 2 * len(zlib.compress(view, 1)) < len(view) else "uncompressed"
    try:
        return ArrayRecordWriter(os.fspath(path), _WRITING + compression)
    except RuntimeError as error:
        raise _os_error(error) from error


def _os_error(error: RuntimeError) -> OSError:
    """ArrayRecord's own errors are "write() failed: No space left on device; writing …"."""
    return OSError(first_line(error).split("; writing ")[0])


def write_shards(directory: pathlib.Path, count: int, compute: ComputeViews) -> tuple[Shape, Shape]:
    """Writes every file of `shards_of(count)`, one after the other; as `write_shard`."""
    shapes = ((), ())
    with tqdm.tqdm(total=count, unit="view", desc="caching", mininterval=1.0) as bar:
        rows = _counted(compute(0, count), bar)
        for name, (begin, end) in shard_ranges(count).items():
            shapes = write_shard(directory / name, end - begin, _take(rows, end - begin))
    return shapes


def _counted(batches: Batches, bar: tqdm.tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for images, features in batches:
        bar.update(len(images))
        yield from zip(images, features, strict=True)


def _take(rows: Iterator[tuple[np.ndarray, np.ndarray]], count: int) -> Batches:
    for _, (image, feature) in zip(range(count), rows, strict=False):
        yield image[np.newaxis], feature[np.newaxis]


def _finish(
    directory: pathlib.Path, key: Mapping[str, Any], count: int, shapes: tuple[Shape, Shape]
) -> None:
    """Writes the card, which makes the shards a cache; the last thing that is written."""
    shards = []
    for name, (begin, end) in shard_ranges(count).items():
        shards.append(
            {"file": name, "views": end - begin, "bytes": (directory / name).stat().st_size}
        )
    given = {"image_shape": [*shapes[0]], "feature_shape": [*shapes[1]], "shards": shards}
    write_json(directory / CARD_FILE, {**key, **given})


def _check_format(path: pathlib.Path, card: Mapping[str, Any]) -> None:
    found = card.get("format")
    if found != FORMAT:
        raise InputError(
            f"the cache {path} has format {found}, this version reads {FORMAT}; it stays as it is"
        )


def _of_another_format(folder: pathlib.Path, name: str) -> list[str]:
    """A line for each cache of that name that this version does not read."""
    found = []
    for card in sorted(folder.glob(f"{name}-*/{CARD_FILE}")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            try:
                _check_format(card.parent, json.loads(card.read_text(encoding="utf-8")))
            except InputError as error:
                found.append(str(error))
    return found


def _open_shard(file: pathlib.Path, expected: Mapping[str, Any]) -> ArrayRecordReader:
    size = file.stat().st_size  # which says so where the file is missing; the reader does not
    if size != expected["bytes"]:
        raise ValueError(f"{file.name} has {size} bytes and should have {expected['bytes']}")
    reader = ArrayRecordReader(os.fspath(file), **_READING)
    if reader.num_records() != expected["views"]:
        raise ValueError(
            f"{file.name} has {reader.num_records()} views and should have {expected['views']}"
        )
    return reader


def _size(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
