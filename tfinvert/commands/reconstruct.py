"""Photographs and what an inverter makes of them, as pictures."""

import pathlib
import time

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.common.images import resize_images
from tfinvert.data.decode import read_rgb
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.grids import image_grid, sample_rows, stack_vertically, write_png

FLAGS = flags.FLAGS


def main(files: list[str]) -> None:
    """From image files to pictures."""
    if not files:
        raise InputError("give the image files to reconstruct after the flags")
    picture, folder = _places(files)
    if FLAGS.samples and (folder or not picture):
        raise InputError("--samples go into a picture: give --output=FILE.png alone")
    chosen = inverter.load(FLAGS.inverter)
    seconds, columns = 0.0, []
    for file in files:
        image = _read(file, chosen)
        drawn = {}
        if FLAGS.samples:  # first, since it may be that there is nothing to draw with
            features = chosen.encode(image[np.newaxis])
            drawn = sample_rows(chosen.sample(features, FLAGS.samples, seed=FLAGS.seed))
        begin = time.perf_counter()
        rebuilt = chosen.reconstruct(image[np.newaxis])
        seconds += time.perf_counter() - begin
        if folder:
            write_png(folder / f"{pathlib.Path(file).stem}.png", rebuilt[0])
        if picture:
            original = resize_images(image[np.newaxis], rebuilt.shape[1:3])
            columns.append({"original": original, "reconstruction": rebuilt} | drawn)
    if picture:
        write_png(picture, _picture(columns, chosen.any_size and not FLAGS.samples))
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
    if chosen.any_size and not FLAGS.samples:
        return image / np.float32(255)
    return center_crop_and_resize(image, chosen.feature.image_shape[:2]).numpy()


def _picture(columns: list[dict[str, np.ndarray]], whole: bool) -> np.ndarray:
    """Each photograph above what is made of it."""
    scale = FLAGS.scale or (1 if whole else 2)
    if len({column["original"].shape for column in columns}) > 1:
        return stack_vertically([image_grid(column, scale=scale) for column in columns])
    rows = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    return image_grid(rows, scale=scale, columns=FLAGS.columns)
