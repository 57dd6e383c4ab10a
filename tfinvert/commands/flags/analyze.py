"""The paper's experiments on inverters of yours, or on those that ship (sections 4 and 5).

What each baseline makes of the same features, with brightness, colour and time (HOG, LBP and SIFT
on 5 000 images, half an hour on two cores; docs/results.md):

    tfinvert analyze --experiment=baselines --data=folder:val \\
        --training_data=folder:train --workdir=runs/baselines

What is rebuilt at lower contrast, and from fewer keypoints (a minute each):

    tfinvert analyze --experiment=contrast --data=folder:val --images=500 \\
        --workdir=runs/contrast
    tfinvert analyze --experiment=keypoints --data=folder:val --images=500 \\
        --workdir=runs/keypoints

Every layer of AlexNet: the shipped inverters beside gradient-based inversion; autoencoders of yours
can be named too (ten minutes):

    tfinvert analyze --experiment=layers --data=folder:val --workdir=runs/layers

Everything but the baselines, from the shipped inverters, into one report; with 16 photographs it is
a few minutes' work, with a thousand an hour's:

    tfinvert analyze --experiment=all --data=folder:val --images=16 --workdir=runs/all

Into the work directory go `report.html`, for each experiment a folder with `results.json`, its
table as `results.csv` and its figures as SVG and PNG, and TensorBoard's `summaries/`. The same
command goes on with a stopped run; with another `--experiment` it adds to it.
"""

from absl import flags

from tfinvert.config.choices import EXPERIMENTS, MAX_IMAGES, SOURCE_FORMATS

LONG = "baselines"  # half an hour, and learns from training images: not a part of "all"


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_list(
        "experiment",
        None,
        f"What to find out: some of {', '.join(EXPERIMENTS)}; or all, which is all but {LONG}.",
        required=True,
    )
    flags.DEFINE_list(
        "inverters",
        None,
        "Saved inverters' directories or shipped names; else shipped ones that fit.",
    )
    flags.DEFINE_string("data", "photos", f"Photographs to look at: {SOURCE_FORMATS}.")
    flags.DEFINE_string(
        "training_data", None, "What baselines learn from: the same forms; else held out of --data."
    )
    flags.DEFINE_integer("images", MAX_IMAGES, "At most so many, evenly spaced.", 2)
    flags.DEFINE_integer(
        "training_images", 20000, "The same for those that baselines learn from.", 2
    )
    flags.DEFINE_integer(
        "gradient_images",
        None,
        "At most so many for gradient-based inversion; else 256 for baselines, an eighth of the "
        "images, from 6 to 64, for others.",
        0,
    )
    flags.DEFINE_integer(
        "gradient_steps", 400, "Steps of gradient-based inversion; not of baselines.", 1
    )
    flags.DEFINE_integer("seed", 0, "Of everything drawn at random.", 0)
    flags.DEFINE_string("workdir", None, "Where the results go.", required=True)
