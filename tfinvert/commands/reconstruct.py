"""Photographs and what an inverter makes of them, as pictures."""

import pathlib
import time

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.data.decode import read_rgb
from tfinvert.data.pipeline import central_view
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.grids import image_grid, stacked, write_png
from tfinvert.resize import resize_images

FLAGS = flags.FLAGS


def main(files: list[str]) -> None:
    """From image files to pictures."""
    if not files:
        raise InputError("give the image files to reconstruct after the flags")
    picture, folder = _places(files)
    chosen = inverter.load(FLAGS.inverter)
    seconds, pairs = 0.0, []
    for file in files:
        image = _read(file, chosen)
        begin = time.perf_counter()
        rebuilt = chosen.reconstruct(image[np.newaxis])
        seconds += time.perf_counter() - begin
        if folder:
            write_png(folder / f"{pathlib.Path(file).stem}.png", rebuilt[0])
        if picture:
            pairs.append((resize_images(image[np.newaxis], rebuilt.shape[1:3]), rebuilt))
    if picture:
        write_png(picture, _picture(pairs, chosen.any_size))
    speed = len(files) / seconds
    places = ", ".join(str(place) for place in (picture, folder) if place)
    print(f"{len(files)} reconstructions at {speed:.1f} images/s, the start included: {places}")


def _places(files: list[str]) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """The picture and the folder to write.

    Raises:
      InputError: there are more, or a photograph would be written over.
    """
    paths = [pathlib.Path(place) for place in FLAGS.output]
    pictures = [path for path in paths if path.suffix.lower() == ".png" and not path.is_dir()]
    folders = [path for path in paths if path not in pictures]
    wrong = [path for path in folders if path.is_file() or (path.suffix and not path.is_dir())]
    if not paths or wrong or max(len(pictures), len(folders)) > 1:
        raise InputError(
            f"--output must be a .png file, a folder, or one of both. Received: "
            f"{','.join(FLAGS.output)}"
        )
    picture, folder = (found[0] if found else None for found in (pictures, folders))
    written = [picture] if picture else []
    if folder:
        written += [folder / f"{pathlib.Path(file).stem}.png" for file in files]
        if len({*written}) < len(files) + len(pictures):
            raise InputError(f"two photographs have one name, in --output={folder}")
    read = {pathlib.Path(file).resolve() for file in files}
    for path in written:
        if path.resolve() in read:
            raise InputError(f"--output={path} is one of the photographs")
    return picture, folder


def _read(file: str, chosen: Inverter) -> np.ndarray:
    """What of a photograph is rebuilt: float32 `[H, W, 3]` in [0, 1]."""
    image = read_rgb(file)
    if chosen.any_size:
        return image / np.float32(255)
    return central_view(image, chosen.feature.image_shape[:2]).numpy()


def _picture(pairs: list[tuple[np.ndarray, np.ndarray]], whole: bool) -> np.ndarray:
    scale = FLAGS.scale or (1 if whole else 2)
    labels = ("original", "reconstruction")
    if len({original.shape for original, _ in pairs}) > 1:
        each = [image_grid(dict(zip(labels, pair, strict=True)), scale=scale) for pair in pairs]
        return stacked(each)
    rows = [np.concatenate(images) for images in zip(*pairs, strict=True)]
    return image_grid(dict(zip(labels, rows, strict=True)), scale=scale, columns=FLAGS.columns)
