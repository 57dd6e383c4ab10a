"""Writes photographs to one array, from which a GPU cuts views: a directory of two files.

    python tools/gpu/photographs.py --data=/images/train --output=photos
    python tools/gpu/photographs.py --data=/images/thumbnails --height=64 --width=64 --output=t64

`pixels.npy`, uint8 `[n, height, width, 3]`, has each photograph in the upper left corner, scaled so
that its shorter side is the height and centre-cropped to the width. `extents.npy`, int32 `[n, 3]`,
has its height and width there, and 1 if it was rotated by 90° because it is taller than wide.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before any import of Keras

import concurrent.futures
import functools
import multiprocessing
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags
from photograph_arrays import EXTENTS, PIXELS
from PIL import Image

from tfinvert.commands import runtime
from tfinvert.common.files import atomic_directory
from tfinvert.data.decode import read_rgb
from tfinvert.data.folder import list_image_files
from tfinvert.errors import InputError


def fit(photo: np.ndarray, height: int, width: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Fits a photograph into an array of a shape without enlarging it; returns its extent too."""
    lies = photo.shape[0] > photo.shape[1]
    photo = np.rot90(photo) if lies else photo
    if (scale := height / photo.shape[0]) < 1:
        photo = resized(photo, (height, round(photo.shape[1] * scale)))
    left = max(photo.shape[1] - width, 0) // 2
    photo = photo[:, left : left + width]
    rows, columns = photo.shape[:2]
    missing = (0, height - rows), (0, width - columns), (0, 0)
    return np.pad(photo, missing, "edge"), (rows, columns, int(lies))


def resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a photograph to (height, width), uint8."""
    image = Image.fromarray(np.ascontiguousarray(photo))
    return np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))


def _read(file: pathlib.Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    return fit(read_rgb(file), height, width)


def write(
    path: str,
    files: Sequence[pathlib.Path],
    height: int,
    width: int,
    mapper: Callable[..., object] = map,
) -> None:
    """Writes the directory atomically; `mapper` is `map`, or that of an executor."""
    order = np.random.default_rng(0).permutation(len(files))  # any prefix is a random sample
    chosen = [files[i] for i in order]
    shape = len(files), height, width, 3
    extents = np.zeros((len(files), 3), np.int32)
    with atomic_directory(path) as folder:
        pixels = np.lib.format.open_memmap(folder / PIXELS, "w+", np.uint8, shape)
        read = mapper(_read, chosen, [height] * len(files), [width] * len(files))
        for i, (photo, extent) in enumerate(read):
            pixels[i], extents[i] = photo, extent
        pixels.flush()
        np.save(folder / EXTENTS, extents)


def main() -> None:
    """Writes the arrays."""
    files = [file for folder in FLAGS.data for file in list_image_files(pathlib.Path(folder))]
    if not files:
        raise InputError(
            f"--data must contain JPEG or PNG files. Received: {', '.join(FLAGS.data)}"
        )
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        mapper = functools.partial(pool.map, chunksize=32)
        write(FLAGS.output, files, FLAGS.height, FLAGS.width, mapper)
    print(f"{len(files)} photographs: {FLAGS.output}")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_list(
        "data", None, "Folders of JPEG and PNG files, searched recursively.", required=True
    )
    flags.DEFINE_string("output", None, "Directory to write.", required=True)
    flags.DEFINE_integer("height", 256, "Largest shorter side in pixels.", lower_bound=1)
    flags.DEFINE_integer("width", 344, "Largest longer side in pixels.", lower_bound=1)
    runtime.run(main)
