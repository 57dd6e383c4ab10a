"""SIFT of fixed views, for training: OpenCV runs on processor cores, and a GPU would wait.

    python tools/gpu/sift_views.py --data=photos --size=128 --min_crop=0.5 --views=180000 \\
        --output=sift-128

Writes a directory of arrays: the views, and the occupied cells of the grid of each, at most
`--keep`.
"""

import on_jax  # noqa: F401  # isort: skip  # before all that imports TensorFlow

import concurrent.futures
import multiprocessing
import os
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
    """The arrays that this program wrote, of several directories one after the other.

    Raises:
      InputError: a directory has none, or they differ in size.
    """
    folders = [pathlib.Path(path) for path in paths]
    for folder in folders:
        if not (folder / "views.npy").is_file():
            raise InputError(f"no views in {folder}: sift_views.py writes them")
    arrays = {name: [np.load(x / f"{name}.npy", mmap_mode="r") for x in folders] for name in NAMES}
    if any(len({array.shape[1:] for array in several}) > 1 for several in arrays.values()):
        raise InputError("views of one --size and --keep go together")
    return {name: np.concatenate(several) for name, several in arrays.items()}


def sparse(grid: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a grid the occupied cells: int16 `[keep]`, and uint8 and float16 of what is in them.

    Of more some are drawn; what is missing lies in a cell after the last.
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
    """Computes the views [begin, end) and writes them where they belong."""
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
    """Writes the directory, whole or not at all."""
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
        # A core each: the threads of one process would wait for each other.
        os.environ |= {"JAX_PLATFORMS": "cpu", "TF_NUM_INTRAOP_THREADS": "1"}
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
            for done in [pool.submit(fill, *task) for task in tasks]:
                done.result()


def main() -> None:
    """Writes the arrays."""
    views = RandomAugmentation((FLAGS.size, FLAGS.size), FLAGS.min_crop, FLAGS.shift)
    # On a usual photograph a third of the cells holds a keypoint.
    keep = FLAGS.keep or FLAGS.size**2 * 11 // 512
    write(FLAGS.output, FLAGS.data, views, FLAGS.views, keep, FLAGS.processes or os.cpu_count())
    print(f"{FLAGS.views} views: {FLAGS.output}")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_string("data", None, "Photographs, of photographs.py.", required=True)
    flags.DEFINE_string("output", None, "The directory to write.", required=True)
    flags.DEFINE_integer("size", 64, "Side of a view in pixels.", lower_bound=4)
    flags.DEFINE_integer("views", 150000, "Views in all.", lower_bound=1)
    flags.DEFINE_float("min_crop", 1.0, "Smallest random crop, as a fraction of the largest.")
    flags.DEFINE_integer("shift", 0, "Pixels to move a view by, at most.")
    flags.DEFINE_integer("keep", 0, "Keypoints of a view, at most; 0 for a third of its cells.")
    flags.DEFINE_integer("processes", 0, "Processes at a time; 0 for one a core.")
    runtime.run(main)
