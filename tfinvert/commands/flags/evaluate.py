"""Evaluates an inverter on photographs (normalised reconstruction error, section 4 of the paper).

The shipped HOG inverter on 5 000 images of 64 pixels, about half a minute on two cores:

    tfinvert evaluate --inverter=hog-64 --data=folder:val

With `--output=DIR`, the metrics are also written to `metrics.json`, and `report.html` shows
reconstructions.
"""

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.commands.flags.shared import INVERTER_HELP, define_any_size_flag, define_function_flag
from tfinvert.commands.flags.stored_pairs import define_pairs_flags
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS

COMMAND = Command(module=__name__, order=30)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("inverter", None, INVERTER_HELP, required=True)
    define_function_flag()
    flags.DEFINE_string("data", "photos", f"Photographs to evaluate on: {SOURCE_FORMATS}.")
    define_pairs_flags()
    flags.DEFINE_enum(
        "split",
        None,
        ["all", "training", "validation"],
        "Split of --data; the default is validation for data from which the inverter's validation "
        "images were held out, and all for other data.",
    )
    define_alias("part", "split")
    define_any_size_flag()
    flags.DEFINE_integer(
        "max_images", MAX_IMAGES, "Maximum number of images, evenly subsampled.", lower_bound=2
    )
    define_alias("images", "max_images")
    flags.DEFINE_bool(
        "frechet",
        False,
        "Also compute the Fréchet distance between SqueezeNet features of the images and of the "
        "reconstructions.",
    )
    flags.DEFINE_integer(
        "num_samples",
        0,
        "Samples per image for sample metrics, over 64 images; 0 computes none.",
        lower_bound=0,
    )
    define_alias("samples", "num_samples")
    flags.DEFINE_string("output", None, "Directory for metrics.json and report.html.")
