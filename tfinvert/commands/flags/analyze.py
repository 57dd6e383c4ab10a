"""Runs the paper's experiments on inverters, shipped or your own (sections 4 and 5).

Every baseline on the same features, with brightness, colour and time (HOG, LBP and SIFT on 5 000
images, half an hour on two cores; docs/results.md):

    tfinvert analyze --experiment=baselines --data=folder:val \\
        --training_data=folder:train --workdir=runs/baselines

Reconstruction at lower contrast and from fewer keypoints (one minute each):

    tfinvert analyze --experiment=contrast --data=folder:val --max_images=500 \\
        --workdir=runs/contrast
    tfinvert analyze --experiment=keypoints --data=folder:val --max_images=500 \\
        --workdir=runs/keypoints

Every layer of AlexNet: the shipped inverters beside gradient-based inversion; `--inverters` may
also name your own autoencoders (ten minutes):

    tfinvert analyze --experiment=layers --data=folder:val --workdir=runs/layers

All experiments but the baselines, on the shipped inverters, in one report (a few minutes with 16
photographs, an hour with a thousand):

    tfinvert analyze --experiment=all --data=folder:val --max_images=16 --workdir=runs/all

Writes into the work directory: `report.html`; for each experiment a folder with `results.json`, its
table as `results.csv` and its figures as SVG and PNG; and TensorBoard's `summaries/`. The same
command resumes an interrupted run; with another `--experiment` it adds that experiment to the run.
"""

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.commands.flags.shared import define_function_flag
from tfinvert.commands.flags.stored_pairs import define_pairs_flags
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS
from tfinvert.config.registry import EXPERIMENTS

COMMAND = Command(module=__name__, order=40)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_list(
        "experiment",
        None,
        f"Experiments to run: one or more of {', '.join(EXPERIMENTS)}; or all, which leaves out "
        "baselines.",
        required=True,
    )
    flags.DEFINE_list(
        "inverters",
        None,
        "Inverters: directories or shipped names; the default is the shipped inverters of each "
        "experiment.",
    )
    define_function_flag()
    flags.DEFINE_string("data", "photos", f"Photographs to analyse: {SOURCE_FORMATS}.")
    define_pairs_flags()
    flags.DEFINE_string(
        "training_data",
        None,
        f"Training photographs of the baselines: {SOURCE_FORMATS}; the default is the training "
        "split of --data.",
    )
    flags.DEFINE_integer(
        "max_images", MAX_IMAGES, "Maximum number of images, evenly subsampled.", lower_bound=2
    )
    define_alias("images", "max_images")
    flags.DEFINE_integer(
        "training_images",
        20000,
        "Maximum number of training images of the baselines, evenly subsampled.",
        lower_bound=2,
    )
    flags.DEFINE_integer(
        "gradient_images",
        None,
        "Maximum number of images for gradient-based inversion; the default is 256 with baselines, "
        "and otherwise an eighth of the images, between 6 and 64.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "gradient_steps",
        400,
        "Steps of gradient-based inversion, except in baselines.",
        lower_bound=1,
    )
    flags.DEFINE_integer("seed", 0, "Random seed.", lower_bound=0)
    flags.DEFINE_string("workdir", None, "Work directory of the run.", required=True)
