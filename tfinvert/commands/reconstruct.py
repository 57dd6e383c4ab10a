"""Reconstructs photographs: `tfinvert reconstruct`."""

import pathlib
import time

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.common.images import resize_images
from tfinvert.data.cropping import read_photograph
from tfinvert.errors import InputError
from tfinvert.features.function import load_function
from tfinvert.reporting.grids import image_grid, sample_rows, stack_vertically, write_png

FLAGS = flags.FLAGS


def main(files: list[str]) -> None:
    """Writes a grid of photographs and reconstructions, or a file for each reconstruction."""
    if not files:
        raise InputError("no photographs; give image files after the flags. Received: none")
    picture, folder = _output_paths(files)
    if FLAGS.num_samples and (folder or not picture):
        raise InputError(
            "--num_samples needs a grid; give --output=FILE.png alone. Received: "
            f"--output={','.join(FLAGS.output)}"
        )
    for function in FLAGS.function:
        load_function(function)
    model = inverter.load(FLAGS.inverter)
    whole = model.any_size and not FLAGS.num_samples
    size = None if whole else model.feature.image_shape[:2]
    seconds, columns = 0.0, []
    for file in files:
        image = read_photograph(file, size)
        samples = {}
        if FLAGS.num_samples:  # before the slow part, because the inverter may have no sampler
            features = model.encode(image[np.newaxis])
            drawn = model.sample(features, FLAGS.num_samples, seed=FLAGS.seed)
            samples = sample_rows(drawn)
        begin = time.perf_counter()
        reconstruction = model.reconstruct(image[np.newaxis])
        seconds += time.perf_counter() - begin
        if folder:
            write_png(folder / f"{pathlib.Path(file).stem}.png", reconstruction[0])
        if picture:
            original = resize_images(image[np.newaxis], reconstruction.shape[1:3])
            columns.append({"original": original, "reconstruction": reconstruction} | samples)
    if picture:
        write_png(picture, _draw_grid(columns, whole))
    speed = len(files) / seconds
    places = ", ".join(str(place) for place in (picture, folder) if place)
    print(f"{len(files)} reconstructions at {speed:.1f} images/s, start-up included: {places}")


def _output_paths(files: list[str]) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """The picture and the folder to write to.

    Raises:
      InputError: --output is neither, or a photograph would be overwritten.
    """
    paths = [pathlib.Path(place) for place in FLAGS.output]
    pictures = [path for path in paths if path.suffix.lower() == ".png" and not path.is_dir()]
    folders = [path for path in paths if path not in pictures]
    wrong = [path for path in folders if path.is_file() or (path.suffix and not path.is_dir())]
    if not paths or wrong or max(len(pictures), len(folders)) > 1:
        raise InputError(
            "--output must be a .png file, a folder, or one of each. Received: "
            f"{','.join(FLAGS.output)}"
        )
    picture, folder = (found[0] if found else None for found in (pictures, folders))
    written = [picture] if picture else []
    if folder:
        written += [folder / f"{pathlib.Path(file).stem}.png" for file in files]
        if len({*written}) < len(files) + len(pictures):
            raise InputError(
                "two photographs would be written to the same file; rename one. "
                f"Received: --output={folder}"
            )
    read = {pathlib.Path(file).resolve() for file in files}
    for path in written:
        if path.resolve() in read:
            raise InputError(
                "a photograph would be overwritten; give another --output. "
                f"Received: --output={path}"
            )
    return picture, folder


def _draw_grid(columns: list[dict[str, np.ndarray]], whole: bool) -> np.ndarray:
    """A grid with each photograph above its reconstructions; `whole` ones are not magnified."""
    scale = FLAGS.scale or (1 if whole else 2)
    if len({column["original"].shape for column in columns}) > 1:
        return stack_vertically([image_grid(column, scale=scale) for column in columns])
    rows = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    return image_grid(rows, scale=scale, columns=FLAGS.columns)
