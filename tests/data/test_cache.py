"""The cache on disk: found again for the same key only, whole or not at all."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import tfinvert
from tfinvert.data import cache as cache_module
from tfinvert.data.cache import CARD, FEATURES, IMAGES, OFFSETS, open_cache

RNG = np.random.default_rng(0)
VIEWS = RNG.integers(0, 256, (10, 4, 6, 3), np.uint8)
VALUES = RNG.normal(size=(10, 2, 3)).astype(np.float32) * (RNG.random((10, 2, 3)) < 0.5)
KEY = {"feature": {"name": "x", "config": {"seed": 0}}, "photographs": "abc"}


def in_batches():
    for begin in range(0, 10, 4):
        yield VIEWS[begin : begin + 4], VALUES[begin : begin + 4]


def opened(folder, key=None, count=10, compute=in_batches):
    return open_cache(folder, "x", KEY if key is None else key, count, compute)


def never():
    raise AssertionError("computed again")


def test_holds_what_was_computed(tmp_path, capsys):
    written = opened(tmp_path / "new" / "folder")
    images, values = written.read(np.array([7, 0, 9]))
    np.testing.assert_array_equal(images, VIEWS[[7, 0, 9]])
    np.testing.assert_array_equal(values, VALUES[[7, 0, 9]])
    assert len(written) == 10
    assert written.size == sum(file.stat().st_size for file in written.path.iterdir())
    assert "10 views cached" in capsys.readouterr().out


def test_is_found_again_and_says_how_large_it_is(tmp_path, capsys):
    opened(tmp_path)
    capsys.readouterr()
    np.testing.assert_array_equal(opened(tmp_path, compute=never).read(np.arange(10))[1], VALUES)
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
def test_another_key_never_finds_it(tmp_path, key, count):
    opened(tmp_path)
    with pytest.raises(AssertionError, match="computed again"):
        opened(tmp_path, key, count, never)
    assert len(opened(tmp_path, key, count)) == count
    assert len([*tmp_path.iterdir()]) == 2


def test_another_version_never_finds_it(tmp_path, monkeypatch):
    opened(tmp_path)
    monkeypatch.setattr(cache_module, "FORMAT", 2)
    with pytest.raises(AssertionError, match="computed again"):
        opened(tmp_path, compute=never)


def test_batches_are_an_epoch_in_a_fixed_order_and_resume(tmp_path):
    written = opened(tmp_path)

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


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fails():
        yield from in_batches()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        opened(tmp_path, count=11, compute=fails)
    assert not [*tmp_path.iterdir()]


def test_a_writer_that_is_killed_leaves_nothing_that_is_read(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from tfinvert.data.cache import open_cache
def compute():
    yield np.zeros((4, 4, 6, 3), np.uint8), np.ones((4, 2, 3), np.float32)
    os.kill(os.getpid(), signal.SIGKILL)
open_cache(sys.argv[1], "x", {}, 10, compute)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert killed.returncode == -9
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    np.testing.assert_array_equal(opened(tmp_path, key={}).read(np.arange(10))[0], VIEWS)


@pytest.mark.parametrize("name", [CARD, IMAGES, OFFSETS, FEATURES])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_cache_is_one_line(tmp_path, name, damage):
    file = opened(tmp_path).path / name
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(tfinvert.InputError, match="is damaged: .*; delete it") as error:
        opened(tmp_path, compute=never)
    assert "\n" not in str(error.value)


def test_flipped_bytes_in_a_feature_are_found(tmp_path):
    written = opened(tmp_path)
    data = bytearray((written.path / FEATURES).read_bytes())
    data[10:14] = bytes(255 - byte for byte in data[10:14])
    (written.path / FEATURES).write_bytes(data)
    with pytest.raises(tfinvert.InputError, match="is damaged"):
        opened(tmp_path, compute=never).read(np.arange(10))


def test_a_card_of_another_version_is_one_line(tmp_path):
    card = opened(tmp_path).path / CARD
    card.write_text(json.dumps(json.loads(card.read_text()) | {"format": 99}))
    with pytest.raises(tfinvert.InputError, match="format 99, this version has 1; delete it"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(tfinvert.InputError, match="cannot be written: .*nothing is left of it"):
        opened(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(tfinvert.InputError, match="Permission denied"):
            opened(tmp_path / "locked")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            self._file.__enter__()
            return self

        def __exit__(self, *exception):
            return self._file.__exit__(*exception)

        def write(self, data):
            raise OSError(28, "No space left on device")

    real = pathlib.Path.open
    monkeypatch.setattr(
        pathlib.Path,
        "open",
        lambda path, *mode: Full(real(path, *mode)) if mode == ("wb",) else real(path, *mode),
    )
    with pytest.raises(tfinvert.InputError, match="No space left on device; nothing is left"):
        opened(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_feature_that_is_not_finite_is_not_cached(tmp_path):
    with pytest.raises(tfinvert.InputError, match="not finite"):
        opened(tmp_path, compute=lambda: iter([(VIEWS, VALUES * np.nan)]))
    assert not [*tmp_path.iterdir()]
