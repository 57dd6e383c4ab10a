"""Reconstructs photographs from their features and draws both (figure 1 of the paper).

    python recipes/reconstruct.py --inverter=hog-64 --output=grid.png a.jpg b.png

Each photograph is cut to the largest central square and resized to the feature's image size.
"""

import pathlib
import time

import numpy as np
from absl import flags

from tfinvert import cli, inverter
from tfinvert.data.decode import read_rgb
from tfinvert.data.pipeline import central_view
from tfinvert.errors import InputError
from tfinvert.reporting.grids import image_grid, write_png
from tfinvert.resize import resize_images

_INVERTER = flags.DEFINE_string(
    "inverter", "hog-64", "A saved inverter's directory or a shipped name."
)
_OUTPUT = flags.DEFINE_string("output", "grid.png", "The picture to write.")
_COLUMNS = flags.DEFINE_integer("columns", 8, "Photographs in a row.", lower_bound=1)
_SCALE = flags.DEFINE_integer("scale", 2, "Enlarges each pixel so many times.", lower_bound=1)


def main(files: list[str]) -> None:
    """From image files to one picture."""
    if not files:
        raise InputError("give the image files to reconstruct after the flags")
    output = pathlib.Path(_OUTPUT.value)
    if output.suffix.lower() != ".png" or output.is_dir():
        raise InputError(f"--output must be a .png file. Received: {output}")
    if any(output.resolve() == pathlib.Path(file).resolve() for file in files):
        raise InputError(f"--output={output} is one of the photographs")
    chosen = inverter.load(_INVERTER.value)
    size = chosen.feature.image_shape[:2]
    images = np.stack([central_view(read_rgb(file), size) for file in files])
    begin = time.perf_counter()
    rebuilt = chosen.reconstruct(images)
    speed = len(files) / (time.perf_counter() - begin)
    rows = {
        "original": resize_images(images, chosen.output_size),
        "reconstruction": rebuilt,
    }
    write_png(output, image_grid(rows, scale=_SCALE.value, columns=_COLUMNS.value))
    print(f"{len(files)} reconstructions at {speed:.0f} images/s, the start included: {output}")


if __name__ == "__main__":
    cli.run(main, arguments=True)
