"""Measures an inverter on photographs (normalised reconstruction error, section 4 of the paper).

The shipped HOG inverter on 5 000 images of 64 pixels, about half a minute on two cores:

    tfinvert evaluate --inverter=hog-64 --data=folder:val

With `--output=DIR` the figures and a page of reconstructions are kept as `metrics.json` and
`report.html`.
"""

from absl import flags

from tfinvert.commands.flags.shared import define_any_size_flag
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_string(
        "inverter", None, "A saved inverter's directory or a shipped name.", required=True
    )
    flags.DEFINE_string("data", "photos", f"Photographs to measure on: {SOURCE_FORMATS}.")
    flags.DEFINE_enum(
        "part",
        None,
        ["all", "training", "validation"],
        "The whole of --data or a part of it; by default all, or, of the data that the inverter "
        "was trained on, the part that was held out.",
    )
    define_any_size_flag()
    flags.DEFINE_integer("images", MAX_IMAGES, "At most so many images, evenly spaced.")
    flags.DEFINE_bool(
        "frechet", False, "Also the Fréchet distance of SqueezeNet's features, over so many images."
    )
    flags.DEFINE_integer(
        "samples",
        0,
        "Of an inverter that draws, also how so many samples of each of 64 images lie about "
        "their reconstructions.",
        lower_bound=0,
    )
    flags.DEFINE_string("output", None, "Directory for metrics.json and report.html.")
