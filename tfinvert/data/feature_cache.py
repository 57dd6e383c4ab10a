"""On-disk cache of augmented views and their features, for features that are slow to compute.

A cache is a directory of ArrayRecord files, `views-00000-of-00008.arrayrecord`, and `cache.json`,
which describes them. A record is one view: its pixels, uint8, followed by its feature,
little-endian float32, with ArrayRecord's checksum. Records are compressed (zstd) if that halves
their size, as it does for sparse features; a compressed record takes twice as long to read.
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

from tfinvert.common.files import atomic_directory, atomic_path, user_path_in_utf8, write_json
from tfinvert.data.pipeline import stored_batches
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard
from tfinvert.errors import InputError, first_line

FORMAT = 2
CARD_FILE = "cache.json"

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
Shape = tuple[int, ...]
ComputeViews = Callable[[int, int], Batches]
WriteShards = Callable[[pathlib.Path, int, ComputeViews], tuple[Shape, Shape]]

_WRITER_OPTIONS = "group_size:1,"  # one record per chunk, so that single views can be read
_READER_OPTIONS = {
    "options": "readahead_buffer_size:0,max_parallelism:0",
    "file_reader_buffer_size": 2**12,
}
# A shard holds at least 512 views and a multiple of 64; there are at most 128 shards.
MIN_SHARD_VIEWS, MAX_SHARDS, SHARD_MULTIPLE = 512, 128, 64


class FeatureCache:
    """A complete cache, opened for reading; threads and processes may read it concurrently.

    Args:
      path: a directory that `open_cache` wrote.

    Attributes:
      path: the directory.
      card: the contents of `cache.json`: the key of the cache, the shapes and the shards.
      size: bytes on disk.

    Raises:
      InputError: a file is missing or damaged, or has another format version.
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
            raise self._damage_error(error) from error
        self.size = _size(path)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads views, uint8 `[n, H, W, 3]`, and their features, float32 `[n, *feature_shape]`.

        Raises:
          InputError: a record is damaged.
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
            raise self._damage_error(error) from error
        return images, features

    def batches(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        shard: BatchShard = WHOLE_BATCH,
    ) -> tf.data.Dataset:
        """Infinite batches of views and their features, see `pipeline.stored_batches`."""
        return stored_batches(
            self.read, len(self), self._shapes, batch_size, seed, start_step, shard
        )

    def _damage_error(self, error: Exception) -> InputError:
        return InputError(f"the cache {self.path} is damaged: {first_line(error)}; delete it")


def open_cache(
    folder: str | os.PathLike[str],
    name: str,
    key: Mapping[str, Any],
    count: int,
    compute: ComputeViews,
    write: WriteShards | None = None,
) -> FeatureCache:
    """Opens the cache for a key, computing and writing it first if it does not exist.

    The directory name contains a digest of the key, so a cache is reused only if everything that
    determines its content is equal. A cache appears under its name only once it is complete.

    Args:
      folder: the folder of all caches; created if missing.
      name: human-readable prefix of the directory name.
      key: everything that determines the content, as JSON values.
      count: number of views to cache.
      compute: returns the views [begin, end) in batches, uint8 `[B, H, W, 3]`, with their features,
        float32 `[B, ...]`; called only if the cache must be written.
      write: writes the files of `shard_ranges(count)` from the output of `compute` and returns the
        shapes of a view and of its feature; by default `write_shards`.

    Raises:
      InputError: the folder cannot be written or the disk is full, the cache is damaged, a feature
        is not finite, or the folder is itself a cache.
    """
    folder = user_path_in_utf8(folder)
    if (folder / CARD_FILE).exists():
        raise InputError(f"{folder} is itself a cache; give the folder that contains it")
    key = {"format": FORMAT, "count": count, **key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{name.replace('/', '_')}-{digest}"
    if path.exists():
        cache = FeatureCache(path)
        print(f"{len(cache)} cached views, {_gigabytes(cache.size)}: {path}")
        return cache
    for message in _unreadable_formats(folder, path.name.rpartition("-")[0]):
        print(f"{message}; a new cache is written beside it")
    begin = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may have written the same cache first; then that one is used.
        with contextlib.suppress(FileExistsError), atomic_directory(path) as directory:
            shapes = (write or write_shards)(directory, count, compute)
            _write_card(directory, key, count, shapes)
    except OSError as error:
        raise InputError(
            f"the cache {path} cannot be written: {error.strerror or error}; it has been removed"
        ) from error
    cache = FeatureCache(path)
    seconds = time.perf_counter() - begin
    print(
        f"{count} views cached in {seconds:.0f} s ({count / seconds:.0f} images/s), "
        f"{_gigabytes(cache.size)}: {path}"
    )
    return cache


def shard_ranges(count: int) -> dict[str, tuple[int, int]]:
    """Maps the file names of a cache of `count` views to the views [begin, end) in each file.

    Every `begin` is a multiple of 64.
    """
    size = max(MIN_SHARD_VIEWS, -(-count // MAX_SHARDS))
    size = -(-size // SHARD_MULTIPLE) * SHARD_MULTIPLE
    begins = range(0, count, size)
    return {
        f"views-{index:05d}-of-{len(begins):05d}.arrayrecord": (begin, min(begin + size, count))
        for index, begin in enumerate(begins)
    }


def write_shard(path: pathlib.Path, count: int, batches: Batches) -> tuple[Shape, Shape]:
    """Writes one file of a cache atomically.

    Args:
      path: the file.
      count: number of views that the file must contain.
      batches: batches of views and features, as returned by the `compute` of `open_cache`.

    Returns:
      The shapes of a view and of its feature.

    Raises:
      InputError: a feature is not finite.
      OSError: the file cannot be written.
      ValueError: the batches contain fewer or more views than `count`.
    """
    with atomic_path(path) as temporary:
        writer, written, shapes = None, 0, ((), ())
        try:
            for images, features in batches:
                if not np.isfinite(features).all():
                    raise InputError("cannot cache a feature that is not finite (NaN or infinite)")
                shapes = images.shape[1:], features.shape[1:]
                for image, feature in zip(images, features, strict=True):
                    view = image.astype(np.uint8).tobytes() + feature.astype("<f4").tobytes()
                    writer = writer or _open_writer(temporary, view)
                    writer.write(view)
                    written += 1
            if writer is not None:
                writer.close()
        except RuntimeError as error:
            if writer is None or writer.ok():
                raise  # from the computation of the batches, not from the writer
            raise _os_error(error) from error
        if written != count:
            raise ValueError(f"{path.name} must contain {count} views. Received: {written}")
    return shapes


def _open_writer(path: pathlib.Path, view: bytes) -> ArrayRecordWriter:
    """Opens a file for writing, compressed if that halves the size of the given view."""
    compression = "zstd:1" if 2 * len(zlib.compress(view, 1)) < len(view) else "uncompressed"
    try:
        return ArrayRecordWriter(os.fspath(path), _WRITER_OPTIONS + compression)
    except RuntimeError as error:
        raise _os_error(error) from error


def _os_error(error: RuntimeError) -> OSError:
    """Converts ArrayRecord's "write() failed: No space left on device; writing …"."""
    return OSError(first_line(error).split("; writing ")[0])


def write_shards(directory: pathlib.Path, count: int, compute: ComputeViews) -> tuple[Shape, Shape]:
    """Writes all files of `shard_ranges(count)` in turn; see `write_shard`."""
    shapes = ((), ())
    with tqdm.tqdm(total=count, unit="view", desc="caching", mininterval=1.0) as bar:
        rows = _unbatch(compute(0, count), bar)
        for name, (begin, end) in shard_ranges(count).items():
            shapes = write_shard(directory / name, end - begin, _take(rows, end - begin))
    return shapes


def _unbatch(batches: Batches, bar: tqdm.tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for images, features in batches:
        bar.update(len(images))
        yield from zip(images, features, strict=True)


def _take(rows: Iterator[tuple[np.ndarray, np.ndarray]], count: int) -> Batches:
    for _, (image, feature) in zip(range(count), rows, strict=False):
        yield image[np.newaxis], feature[np.newaxis]


def _write_card(
    directory: pathlib.Path, key: Mapping[str, Any], count: int, shapes: tuple[Shape, Shape]
) -> None:
    """Writes `cache.json`, last, because it makes the directory a valid cache."""
    shards = []
    for name, (begin, end) in shard_ranges(count).items():
        shards.append(
            {"file": name, "views": end - begin, "bytes": (directory / name).stat().st_size}
        )
    content = {"image_shape": [*shapes[0]], "feature_shape": [*shapes[1]], "shards": shards}
    write_json(directory / CARD_FILE, {**key, **content})


def _check_format(path: pathlib.Path, card: Mapping[str, Any]) -> None:
    found = card.get("format")
    if found != FORMAT:
        raise InputError(
            f"the cache {path} has format {found}, but this version reads {FORMAT}; it is kept"
        )


def _unreadable_formats(folder: pathlib.Path, name: str) -> list[str]:
    """Returns a message for each cache of that name whose format this version does not read."""
    messages = []
    for card in sorted(folder.glob(f"{name}-*/{CARD_FILE}")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            try:
                _check_format(card.parent, json.loads(card.read_text(encoding="utf-8")))
            except InputError as error:
                messages.append(str(error))
    return messages


def _open_shard(file: pathlib.Path, expected: Mapping[str, Any]) -> ArrayRecordReader:
    size = file.stat().st_size  # raises FileNotFoundError, which the reader does not
    if size != expected["bytes"]:
        raise ValueError(f"{file.name} has {size} bytes instead of {expected['bytes']}")
    reader = ArrayRecordReader(os.fspath(file), **_READER_OPTIONS)
    if reader.num_records() != expected["views"]:
        raise ValueError(
            f"{file.name} has {reader.num_records()} views instead of {expected['views']}"
        )
    return reader


def _size(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
