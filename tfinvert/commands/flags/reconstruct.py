"""Reconstructs photographs from their features and draws both (figure 1 of the paper).

    tfinvert reconstruct --inverter=hog --output=grid.png a.jpg b.png

An inverter for any size rebuilds whole photographs; for another, each is cut to the largest central
square and resized. A folder gets every reconstruction alone; so frames of a film become frames:

    tfinvert reconstruct --inverter=hog --output=rebuilt/ frames/*.png

An inverter that draws (docs/samples.md) also shows other images that have the same feature:

    tfinvert reconstruct --inverter=hog-samples-64 --samples=4 --output=grid.png a.jpg b.png
"""

from absl import flags


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_string("inverter", "hog", "A saved inverter's directory or a shipped name.")
    flags.DEFINE_list(
        "output",
        "grid.png",
        "Where the result goes: a .png file gets photographs and reconstructions, a folder every "
        "reconstruction alone; both may be given.",
    )
    flags.DEFINE_integer(
        "samples", 0, "Images to draw that have the feature, below each.", lower_bound=0
    )
    flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
    flags.DEFINE_integer(
        "columns", 8, "Photographs in a row, where all have one size.", lower_bound=1
    )
    flags.DEFINE_integer(
        "scale",
        None,
        "Enlarges each pixel of the picture so many times; by default whole photographs not at "
        "all, others twice.",
        lower_bound=1,
    )
