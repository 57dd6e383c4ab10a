"""Photographs as one array, which a GPU cuts its views from: a directory of two files.

    python tools/gpu/photographs.py --data=/images/train --output=photos
    python tools/gpu/photographs.py --data=/images/thumbnails --height=64 --width=64 --output=t64

`pixels.npy`, uint8 `[n, height, width, 3]`, holds each photograph in its upper left corner, scaled
so that its shorter side is the height, and of a long one the middle; `extents.npy`, int32 `[n, 3]`,
says how high and wide it is there, and whether it was laid on its side because it is tall.
"""

import on_jax  # noqa: F401  # isort: skip  # before all that imports TensorFlow

import concurrent.futures
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
    """A photograph in an array of that shape, and its extent there; none is enlarged."""
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
    """A photograph at another (height, width), uint8."""
    image = Image.fromarray(np.ascontiguousarray(photo))
    return np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))


def _read(file: pathlib.Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    return fit(read_rgb(file), height, width)


def write(
    path: str,
    files: Sequence[pathlib.Path],
    height: int,
    width: int,
    spread: Callable[..., object] = map,
) -> None:
    """Writes the directory, whole or not at all; `spread` is `map`, or an executor's."""
    order = np.random.default_rng(0).permutation(len(files))  # so that the first are a sample
    chosen = [files[i] for i in order]
    shape = len(files), height, width, 3
    extents = np.zeros((len(files), 3), np.int32)
    with atomic_directory(path) as folder:
        pixels = np.lib.format.open_memmap(folder / PIXELS, "w+", np.uint8, shape)
        read = spread(_read, chosen, [height] * len(files), [width] * len(files))
        for i, (photo, extent) in enumerate(read):
            pixels[i], extents[i] = photo, extent
        pixels.flush()
        np.save(folder / EXTENTS, extents)


def main() -> None:
    """Writes the arrays."""
    files = [file for folder in FLAGS.data for file in list_image_files(pathlib.Path(folder))]
    if not files:
        raise InputError(f"no image in {', '.join(FLAGS.data)}")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        spread = lambda *each: pool.map(*each, chunksize=32)  # noqa: E731
        write(FLAGS.output, files, FLAGS.height, FLAGS.width, spread)
    print(f"{len(files)} photographs: {FLAGS.output}")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_list("data", None, "Folders of JPEG and PNG files, in any depth.", required=True)
    flags.DEFINE_string("output", None, "The directory to write.", required=True)
    flags.DEFINE_integer("height", 256, "Pixels of the shorter side, at most.", lower_bound=1)
    flags.DEFINE_integer("width", 344, "Pixels of the longer side, at most.", lower_bound=1)
    runtime.run(main)
