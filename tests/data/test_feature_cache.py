"""The on-disk feature cache: reused for equal keys only, complete or absent."""

import concurrent.futures
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

import tfinvert
from tfinvert.data import feature_cache
from tfinvert.data.feature_cache import (
    CARD_FILE,
    FeatureCache,
    open_cache,
    shard_ranges,
    write_shard,
)

RNG = np.random.default_rng(0)
VIEWS = RNG.integers(0, 256, (10, 4, 6, 3), np.uint8)
VALUES = RNG.normal(size=(10, 2, 3)).astype(np.float32) * (RNG.random((10, 2, 3)) < 0.5)
KEY = {"feature": {"name": "x", "config": {"seed": 0}}, "photographs": "abc"}


SHARDS = [f"views-0000{index}-of-00003.arrayrecord" for index in range(3)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Ten views make three files."""
    monkeypatch.setattr(feature_cache, "MIN_SHARD_VIEWS", 4)
    monkeypatch.setattr(feature_cache, "SHARD_MULTIPLE", 4)


def in_batches(begin=0, end=10):
    for row in range(begin, end, 3):
        yield VIEWS[row : min(row + 3, end)], VALUES[row : min(row + 3, end)]


def open_test_cache(folder, key=None, count=10, compute=in_batches):
    return open_cache(folder, "x", KEY if key is None else key, count, compute)


def never(begin, end):
    raise AssertionError("computed again")


def test_contains_the_computed_values(tmp_path, capsys):
    written = open_test_cache(tmp_path / "new" / "folder")
    images, values = written.read(np.array([7, 0, 9]))
    np.testing.assert_array_equal(images, VIEWS[[7, 0, 9]])
    np.testing.assert_array_equal(values, VALUES[[7, 0, 9]])
    assert len(written) == 10
    assert written.size == sum(file.stat().st_size for file in written.path.iterdir())
    assert "10 views cached" in capsys.readouterr().out


def test_is_reused_and_reports_its_size(tmp_path, capsys):
    open_test_cache(tmp_path)
    capsys.readouterr()
    np.testing.assert_array_equal(
        open_test_cache(tmp_path, compute=never).read(np.arange(10))[1], VALUES
    )
    assert "10 cached views, 0.00 GB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "count"),
    [
        ({**KEY, "photographs": "abd"}, 10),
        ({**KEY, "feature": {"name": "x", "config": {"seed": 1}}}, 10),
        ({**KEY, "more": 1}, 10),
        (KEY, 9),
    ],
)
def test_is_not_reused_for_another_key(tmp_path, key, count):
    open_test_cache(tmp_path)
    with pytest.raises(AssertionError, match="computed again"):
        open_test_cache(tmp_path, key, count, never)
    assert len(open_test_cache(tmp_path, key, count)) == count
    assert len([*tmp_path.iterdir()]) == 2


def test_is_not_reused_by_another_format_version(tmp_path, monkeypatch):
    open_test_cache(tmp_path)
    monkeypatch.setattr(feature_cache, "FORMAT", 3)
    with pytest.raises(AssertionError, match="computed again"):
        open_test_cache(tmp_path, compute=never)


def test_batches_are_shuffled_deterministically_and_resume(tmp_path):
    written = open_test_cache(tmp_path)

    def drawn(seed, start=0, steps=10):
        batches = written.batches(2, seed, start).take(steps).as_numpy_iterator()
        return [[int(np.argmax((VIEWS / np.float32(255) == i).all((1, 2, 3)))) for i in batch[0]]
                for batch in batches]  # fmt: skip

    order = np.ravel(drawn(0))
    assert sorted(order[:10]) == sorted(order[10:]) == [*range(10)]
    assert list(order[:10]) != list(order[10:])
    assert drawn(1) != drawn(0) == drawn(0)
    assert drawn(0, start=3, steps=7) == drawn(0)[3:]
    images, values = next(written.batches(4, 0).as_numpy_iterator())
    assert images.dtype == values.dtype == np.float32
    where = [int(np.argmax((value == VALUES).all((1, 2)))) for value in values]
    np.testing.assert_array_equal(images, VIEWS[where] / np.float32(255))


def test_failed_writing_leaves_no_files(tmp_path):
    def fails(begin, end):
        yield from in_batches()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        open_test_cache(tmp_path, count=11, compute=fails)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_killed_writer_leaves_no_readable_cache(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from tfinvert.data.feature_cache import open_cache
def compute(begin, end):
    yield np.zeros((4, 4, 6, 3), np.uint8), np.ones((4, 2, 3), np.float32)
    os.kill(os.getpid(), signal.SIGKILL)
open_cache(sys.argv[1], "x", {}, 10, compute)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert killed.returncode == -9
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    np.testing.assert_array_equal(open_test_cache(tmp_path, key={}).read(np.arange(10))[0], VIEWS)


@pytest.mark.parametrize("name", [CARD_FILE, *SHARDS])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_damaged_cache(tmp_path, name, damage):
    file = open_test_cache(tmp_path).path / name
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(tfinvert.InputError, match="is damaged: .*; delete it") as error:
        open_test_cache(tmp_path, compute=never)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SHARDS)
def test_flipped_bytes_are_detected(tmp_path, name):
    written = open_test_cache(tmp_path)
    whole = (written.path / name).read_bytes()
    at = whole.index(VIEWS[4 * SHARDS.index(name)].tobytes())
    for byte in range(at, at + 60, 6):
        data = bytearray(whole)
        data[byte] ^= 255
        (written.path / name).write_bytes(data)
        with pytest.raises(tfinvert.InputError, match="is damaged: .*; delete it") as error:
            open_test_cache(tmp_path, compute=never).read(np.arange(10))
        assert "\n" not in str(error.value)


def test_compressible_views_are_compressed_and_checksummed(tmp_path):
    plain = np.full_like(VIEWS, 7)

    def compute(begin, end):
        yield plain[begin:end], np.zeros((end - begin, 2, 3), np.float32)

    written = open_test_cache(tmp_path, compute=compute)
    file = written.path / SHARDS[0]
    whole = file.read_bytes()
    assert plain[0].tobytes() not in whole  # incompressible views are stored as they are
    np.testing.assert_array_equal(written.read(np.arange(10))[0], plain)
    at = whole.index(b"(\xb5/\xfd")  # zstd's magic: the first view
    for byte in range(at, at + 12, 3):
        data = bytearray(whole)
        data[byte] ^= 255
        file.write_bytes(data)
        with pytest.raises(tfinvert.InputError, match="is damaged: .*; delete it"):
            open_test_cache(tmp_path, compute=never).read(np.arange(10))


@pytest.mark.parametrize("views", [3, 5])
def test_shard_with_another_number_of_views(tmp_path, views):
    cache = open_test_cache(tmp_path)
    write_shard(cache.path / SHARDS[0], views, in_batches(0, views))
    card = json.loads((cache.path / CARD_FILE).read_text())
    card["shards"][0]["bytes"] = (cache.path / SHARDS[0]).stat().st_size
    (cache.path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(tfinvert.InputError, match=f"has {views} views instead of 4; delete"):
        open_test_cache(tmp_path)
    card["shards"][0]["views"] = views
    (cache.path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(tfinvert.InputError, match="counts 10 views"):
        open_test_cache(tmp_path)


def test_card_of_another_format_version(tmp_path):
    card = open_test_cache(tmp_path).path / CARD_FILE
    card.write_text(json.dumps(json.loads(card.read_text()) | {"format": 99}))
    with pytest.raises(
        tfinvert.InputError, match="has format 99, but this version reads 2; it is kept"
    ):
        open_test_cache(tmp_path)


def test_cache_of_the_first_format_is_reported_and_kept(tmp_path, capsys):
    old = tmp_path / "x-0123456789"
    old.mkdir()
    (old / CARD_FILE).write_text(json.dumps({"format": 1, "count": 10, **KEY}))
    (old / "images.raw").write_bytes(b"mine")
    with pytest.raises(
        tfinvert.InputError, match="has format 1, but this version reads 2; it is kept"
    ):
        FeatureCache(old)
    with pytest.raises(
        tfinvert.InputError, match="is itself a cache; give the folder that contains it"
    ):
        open_test_cache(old)
    assert len(open_test_cache(tmp_path)) == 10
    assert f"the cache {old} has format 1, but this version reads 2" in capsys.readouterr().out
    assert len(open_test_cache(tmp_path)) == 10
    assert "has format 1" not in capsys.readouterr().out  # no cache was written
    assert sorted(file.name for file in old.iterdir()) == [CARD_FILE, "images.raw"]


def test_shards_contain_every_view_once_and_begin_at_multiples_of_64(monkeypatch):
    monkeypatch.undo()
    for count in (1, 511, 512, 513, 200_000, 5_000_001):
        ranges = [*shard_ranges(count).values()]
        assert ranges[0][0] == 0 and ranges[-1][1] == count and len(ranges) <= 128
        assert all(a[1] == b[0] for a, b in zip(ranges, ranges[1:], strict=False))
        assert all(begin % 64 == 0 for begin, _ in ranges)


def test_shards_written_separately_are_identical(tmp_path):
    cache = open_test_cache(tmp_path / "a")
    for name, (begin, end) in reversed(shard_ranges(10).items()):
        write_shard(tmp_path / name, end - begin, in_batches(begin, end))
        assert (tmp_path / name).read_bytes() == (cache.path / name).read_bytes()


def test_concurrent_reads(tmp_path):
    cache = open_test_cache(tmp_path)
    indices = [np.random.default_rng(seed).integers(0, 10, 64) for seed in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for at, (images, values) in zip(indices, pool.map(cache.read, indices), strict=True):
            np.testing.assert_array_equal(images, VIEWS[at])
            np.testing.assert_array_equal(values, VALUES[at])


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(tfinvert.InputError, match="cannot be written: .*; it has been removed"):
        open_test_cache(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(tfinvert.InputError, match="Permission denied"):
            open_test_cache(tmp_path / "locked")


def test_full_disk_leaves_no_files(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, limits[1]))
    try:
        with pytest.raises(
            tfinvert.InputError, match="File too large; it has been removed"
        ) as error:
            open_test_cache(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("count", [9, 11])
def test_shard_with_a_wrong_number_of_views_is_not_written(tmp_path, count):
    with pytest.raises(ValueError, match=f"must contain {count} views. Received: 10"):
        write_shard(tmp_path / "x", count, in_batches())
    assert not [*tmp_path.iterdir()]


def test_non_finite_features_are_not_cached(tmp_path):
    with pytest.raises(tfinvert.InputError, match="cannot cache a feature that is not finite"):
        open_test_cache(tmp_path, compute=lambda *_: iter([(VIEWS, VALUES * np.nan)]))
    assert not [*tmp_path.iterdir()]
