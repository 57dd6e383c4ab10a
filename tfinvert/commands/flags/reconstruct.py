"""Reconstructs photographs from their features and shows both (figure 1 of the paper).

    tfinvert reconstruct --inverter=hog --output=grid.png a.jpg b.png

An inverter that accepts any image size reconstructs whole photographs; for other inverters, each
photograph is cropped to its largest central square and resized. With a folder as output, every
reconstruction is written to a file of its own, for example the frames of a film:

    tfinvert reconstruct --inverter=hog --output=rebuilt/ frames/*.png

An inverter with a sampler (docs/samples.md) also shows other images with the same feature:

    tfinvert reconstruct --inverter=hog-samples-64 --num_samples=4 --output=grid.png a.jpg b.png
"""

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.commands.flags.shared import INVERTER_HELP, define_function_flag

COMMAND = Command(module=__name__, order=10, arguments=True, any_backend=True)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("inverter", "hog", INVERTER_HELP)
    define_function_flag()
    flags.DEFINE_list(
        "output",
        "grid.png",
        "Output path: a .png file for a grid of photographs and reconstructions, a folder for one "
        "file per reconstruction, or both, separated by a comma.",
    )
    flags.DEFINE_integer(
        "num_samples", 0, "Number of images to sample for each photograph.", lower_bound=0
    )
    define_alias("samples", "num_samples")
    flags.DEFINE_integer("seed", 0, "Random seed of the samples.", lower_bound=0)
    flags.DEFINE_integer(
        "columns", 8, "Photographs per row of the grid, if all have the same size.", lower_bound=1
    )
    flags.DEFINE_integer(
        "scale",
        None,
        "Magnification of the grid, in pixels per pixel; the default is 1 for whole photographs "
        "and 2 otherwise.",
        lower_bound=1,
    )
