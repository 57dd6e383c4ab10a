"""Trains the inversion network of a feature (section 3 of the paper).

What it writes into the work directory: `flags.json`, `checkpoints/`, `summaries/` (TensorBoard),
`history.jsonl`, `inverter/`, `metrics.json` and `report.html`. The same command goes on where an
interrupted run stopped.

HOG at 64 pixels on 49 800 ImageNet photographs, half an hour on two threads of one core, normalised
reconstruction error 0.405 (docs/results.md), and from there to photographs of any size, a quarter
of an hour more:

    tfinvert train --feature=hog --data=folder:train \\
        --validation_data=folder:val --min_crop=1 --shift=8 --learning_rate=3e-3 --steps=5500 \\
        --dtype=float16 --workdir=runs/hog-64
    tfinvert train --feature=hog --start=runs/hog-64/inverter \\
        --data=folder:photographs --validation_data=folder:samples --image_size=128 \\
        --min_crop=0.5 --batch_size=32 --learning_rate=1.5e-3 --steps=1600 --dtype=float16 \\
        --workdir=runs/hog

Sparse SIFT is computed once and kept on disk (4 GB at 64 pixels). `--shift` moves images where
enlarged crops would change the feature. The paper's network and optimiser:

    tfinvert train --feature=sift --cache=cache --cached_views=4 \\
        --data=folder:train --validation_data=folder:val --min_crop=1 --shift=8 \\
        --network=paper --optimizer=adam --width=0.5 --learning_rate=2e-3 --steps=9000 \\
        --workdir=runs/sift-64

To draw images that have a feature, around an inverter that is there (docs/samples.md):

    tfinvert train --feature=hog --start=hog-64 --samples --data=folder:train \\
        --validation_data=folder:val --min_crop=1 --shift=8 --batch_size=128 \\
        --learning_rate=2e-3 --steps=9000 --dtype=float16 --workdir=runs/hog-samples-64

A first try on the embedded photographs, a minute:

    tfinvert train --feature=hog --data=photos --steps=500 --width=0.5 \\
        --workdir=runs/try
"""

import dataclasses

from absl import flags

from tfinvert.commands.flags.shared import define_feature_flags, define_training_flags
from tfinvert.config.choices import (
    LOSSES,
    MAX_IMAGES,
    NETWORKS,
    OPTIMIZERS,
    SOURCE_FORMATS,
    UNCERTAINTY_MODES,
)
from tfinvert.training.settings import Settings

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}


def define_flags() -> None:
    """Defines them, for the program that calls."""
    define_feature_flags()
    flags.DEFINE_string("data", "photos", f"Training photographs: {SOURCE_FORMATS}.")
    flags.DEFINE_integer("validation_images", MAX_IMAGES, "At most so many, evenly spaced.")
    flags.DEFINE_float("clip_norm", DEFAULTS["clip_norm"], "Largest norm of the gradient.")
    flags.DEFINE_float(
        "averaging", DEFAULTS["averaging"], "Decay of the averaged weights; 0: none."
    )
    flags.DEFINE_float(
        "spike",
        DEFAULTS["spike"],
        "Largest norm of the gradient, as a multiple of its running mean.",
    )
    flags.DEFINE_string(
        "loss",
        DEFAULTS["loss"],
        f"What reconstructions are fitted by: {', '.join(LOSSES)}, or several with weights, as "
        "squared:10,perceptual:1; perceptual=squeezenet/fire3+fire9 and "
        "perceptual=FILE.keras/LAYER name layers.",
    )
    flags.DEFINE_enum("optimizer", DEFAULTS["optimizer"], OPTIMIZERS, "What fits them.")
    flags.DEFINE_float(
        "weight_decay",
        DEFAULTS["weight_decay"],
        "Of adamw and muon: the share, times the learning rate, that a step takes of all weights.",
    )
    flags.DEFINE_string("start", None, "An inverter to begin with: a directory or a shipped name.")
    flags.DEFINE_bool(
        "samples", False, "Keep --start as it is, and learn to draw images that have a feature."
    )
    flags.DEFINE_enum("network", DEFAULTS["network"], NETWORKS, "The network's design.")
    flags.DEFINE_float("width", DEFAULTS["width"], "Scales the channels of the network.")
    flags.DEFINE_integer(
        "units",
        DEFAULTS["units"],
        "Of the fully connected layers of a network for vectors; 0: 4096 × width.",
    )
    flags.DEFINE_bool(
        "train_encoder", DEFAULTS["train_encoder"], "Train the feature's model too: an autoencoder."
    )
    flags.DEFINE_enum(
        "spread",
        DEFAULTS["spread"],
        UNCERTAINTY_MODES,
        "Learn how far each pixel may be from the truth: beside the image, or alone, on --start as "
        "it is.",
    )
    define_training_flags(DEFAULTS, dtype="float32")
    flags.mark_flag_as_required("workdir")
