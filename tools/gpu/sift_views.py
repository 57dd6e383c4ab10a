"""Computes SIFT of fixed views before training, as OpenCV runs on the CPU and a GPU would wait.

    python tools/gpu/sift_views.py --data=photos --size=128 --min_crop=0.5 --views=180000 \\
        --output=sift-128

Writes a directory of arrays: the views and, for each, at most `--keep` occupied cells of its grid.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before any import of Keras

import concurrent.futures
import multiprocessing
import pathlib
from collections.abc import Sequence

import numpy as np
import photograph_arrays
from absl import flags

from tfinvert.commands import runtime
from tfinvert.common.files import atomic_directory
from tfinvert.data.augmentation import RandomAugmentation
from tfinvert.data.shuffling import shuffled_indices
from tfinvert.errors import InputError
from tfinvert.features.sift import CHANNELS, DESCRIPTOR_SIZE, DESCRIPTOR_UNIT, Sift, occupied_cells

_AT_ONCE = 256
NAMES = ("views", "cells", "descriptors", "places")


def load(paths: Sequence[str]) -> dict[str, np.ndarray]:
    """Opens the arrays of this program, concatenating those of several directories.

    Raises:
      InputError: a directory has none, or their sizes differ.
    """
    folders = [pathlib.Path(path) for path in paths]
    for folder in folders:
        if not (folder / "views.npy").is_file():
            raise InputError(
                f"--sift_views must be directories that sift_views.py wrote. Received: {folder}"
            )
    arrays = {name: [np.load(x / f"{name}.npy", mmap_mode="r") for x in folders] for name in NAMES}
    if any(len({array.shape[1:] for array in several}) > 1 for several in arrays.values()):
        raise InputError(
            "--sift_views must be directories of one --size and --keep. Received: several sizes"
        )
    return {name: np.concatenate(several) for name, several in arrays.items()}


def sparse(grid: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the occupied cells of a grid: indices, descriptors, and scale and orientation.

    If there are more than `keep`, a random subset is returned; if fewer, the indices are padded
    with that of a cell after the last.

    Returns:
      int16 `[keep]`, uint8 `[keep, descriptor]` and float16 `[keep, rest]`.
    """
    cells = grid.reshape(-1, CHANNELS)
    found = np.flatnonzero(occupied_cells(cells))
    if len(found) > keep:
        found = np.sort(np.random.default_rng(0).permutation(found)[:keep])
    where = np.full(keep, len(cells), np.int16)
    descriptors = np.zeros((keep, DESCRIPTOR_SIZE), np.uint8)
    places = np.zeros((keep, CHANNELS - DESCRIPTOR_SIZE), np.float16)
    where[: len(found)] = found
    descriptors[: len(found)] = np.rint(cells[found, :DESCRIPTOR_SIZE] * DESCRIPTOR_UNIT)
    places[: len(found)] = cells[found, DESCRIPTOR_SIZE:]
    return where, descriptors, places


def fill(
    folder: pathlib.Path, data: str, views: RandomAugmentation, keep: int, begin: int, end: int
) -> None:
    """Computes the views [begin, end) and writes them into the arrays."""
    photos = photograph_arrays.load(data)
    positions = np.arange(begin, end)
    indices = shuffled_indices(len(photos.pixels), 0, positions)
    cut = views.apply([photograph_arrays.upright(photos, i) for i in indices], positions, 0)
    grids = Sift((*views.size, 3)).compute(cut / np.float32(255))
    found = [sparse(grid, keep) for grid in np.asarray(grids)]
    for name, array in zip(NAMES, (cut, *map(np.stack, zip(*found, strict=True))), strict=True):
        whole = np.load(folder / f"{name}.npy", mmap_mode="r+")
        whole[begin:end] = array
        whole.flush()


def write(
    path: str, data: str, views: RandomAugmentation, count: int, keep: int, processes: int
) -> None:
    """Writes the directory atomically."""
    rest = CHANNELS - DESCRIPTOR_SIZE
    shapes = (*views.size, 3), (keep,), (keep, DESCRIPTOR_SIZE), (keep, rest)
    types = np.uint8, np.int16, np.uint8, np.float16
    with atomic_directory(path) as folder:
        for name, shape, kind in zip(NAMES, shapes, types, strict=True):
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (count, *shape))
        begins = range(0, count, _AT_ONCE)
        tasks = [(folder, data, views, keep, x, min(x + _AT_ONCE, count)) for x in begins]
        if processes == 1:
            for task in tasks:
                fill(*task)
            return
        # One core per process, as threads of one process would contend for locks.
        os.environ |= {"JAX_PLATFORMS": "cpu", "TF_NUM_INTRAOP_THREADS": "1"}
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
            for done in [pool.submit(fill, *task) for task in tasks]:
                done.result()


def main() -> None:
    """Writes the arrays."""
    views = RandomAugmentation((FLAGS.size, FLAGS.size), FLAGS.min_crop, FLAGS.shift)
    # About a third of the cells of a typical photograph holds a keypoint.
    keep = FLAGS.keep or FLAGS.size**2 * 11 // 512
    write(FLAGS.output, FLAGS.data, views, FLAGS.views, keep, FLAGS.processes or os.cpu_count())
    print(f"{FLAGS.views} views: {FLAGS.output}")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_string("data", None, "Directory of photographs.py.", required=True)
    flags.DEFINE_string("output", None, "Directory to write.", required=True)
    flags.DEFINE_integer("size", 64, "Side of a view in pixels.", lower_bound=4)
    flags.DEFINE_integer("views", 150000, "Number of views.", lower_bound=1)
    flags.DEFINE_float("min_crop", 1.0, "Smallest random crop, as a fraction of the largest.")
    flags.DEFINE_integer("shift", 0, "Largest random translation in pixels.")
    flags.DEFINE_integer(
        "keep", 0, "Largest number of keypoints per view; 0 means a third of its cells."
    )
    flags.DEFINE_integer("processes", 0, "Number of processes; 0 means one per core.")
    runtime.run(main)
