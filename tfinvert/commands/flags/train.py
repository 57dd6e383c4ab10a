"""Trains the inversion network of a feature (section 3 of the paper).

Writes into the work directory: `flags.json`, `checkpoints/`, `summaries/` (TensorBoard),
`history.jsonl`, `inverter/`, `metrics.json` and `report.html`. The same command resumes an
interrupted run.

HOG at 64 pixels on 49 800 ImageNet photographs (half an hour on two threads of one core, normalised
reconstruction error 0.405; docs/results.md), then fine-tuning for photographs of any size (another
quarter of an hour):

    tfinvert train --feature=hog --data=folder:train \\
        --validation_data=folder:val --min_crop=1 --shift=8 --learning_rate=3e-3 --steps=5500 \\
        --weights_dtype=float16 --workdir=runs/hog-64
    tfinvert train --feature=hog --init_from=runs/hog-64/inverter \\
        --data=folder:photographs --validation_data=folder:samples --image_size=128 \\
        --min_crop=0.5 --batch_size=32 --learning_rate=1.5e-3 --steps=1600 \\
        --weights_dtype=float16 --workdir=runs/hog

Sparse SIFT is computed once and cached on disk (4 GB at 64 pixels). `--shift` augments by
translation, because enlarged crops would change the feature. With the paper's network and
optimiser:

    tfinvert train --feature=sift --cache=cache --cached_views=4 \\
        --data=folder:train --validation_data=folder:val --min_crop=1 --shift=8 \\
        --network=paper --optimizer=adam --width=0.5 --learning_rate=2e-3 --steps=9000 \\
        --workdir=runs/sift-64

A sampler of images with the same feature, for an existing inverter (docs/samples.md):

    tfinvert train --feature=hog --init_from=hog-64 --train_sampler --data=folder:train \\
        --validation_data=folder:val --min_crop=1 --shift=8 --batch_size=128 \\
        --learning_rate=2e-3 --steps=9000 --weights_dtype=float16 \\
        --workdir=runs/hog-samples-64

Features that were computed elsewhere, a row for each photograph (docs/pairs.md):

    tfinvert train --pairs=embeddings.parquet --data=folder:photographs --workdir=runs/pairs

A first run on the photographs that are shipped with the dependencies, one minute:

    tfinvert train --feature=hog --data=photos --steps=500 --width=0.5 \\
        --workdir=runs/try
"""

import dataclasses

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.commands.flags.deprecated import accept_old_values, define_alias
from tfinvert.commands.flags.shared import define_feature_flags, define_training_flags
from tfinvert.commands.flags.stored_pairs import define_pairs_training_flags
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS, UNCERTAINTY_MODES
from tfinvert.config.registry import LOSSES, NETWORKS, OPTIMIZERS, Registry
from tfinvert.config.renames import UNCERTAINTY_VALUES, rename_losses
from tfinvert.training.settings import Settings

COMMAND = Command(module=__name__, order=20, any_backend=True)
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}


def define_flags() -> None:
    """Defines this command's flags."""
    define_feature_flags(required=False)
    define_pairs_training_flags()
    flags.DEFINE_string("data", "photos", f"Training photographs: {SOURCE_FORMATS}.")
    flags.DEFINE_integer(
        "validation_images",
        MAX_IMAGES,
        "Maximum number of validation images, evenly subsampled.",
    )
    flags.DEFINE_float("clip_norm", DEFAULTS["clip_norm"], "Maximum global norm of the gradient.")
    flags.DEFINE_float(
        "ema_decay",
        DEFAULTS["ema_decay"],
        "Decay of the exponential moving average (EMA) of the weights; 0 keeps the last weights.",
    )
    define_alias("averaging", "ema_decay")
    flags.DEFINE_float(
        "spike_threshold",
        DEFAULTS["spike_threshold"],
        "Maximum norm of the gradient, as a multiple of its running mean.",
    )
    define_alias("spike", "spike_threshold")
    flags.DEFINE_string(
        "loss",
        DEFAULTS["loss"],
        f"Loss: {_describe(LOSSES)}; or a weighted sum, as in mse:10,perceptual:1. Layers of the "
        "perceptual loss: perceptual=squeezenet/fire3+fire9 or perceptual=FILE.keras/LAYER.",
    )
    accept_old_values("loss", rename_losses)
    flags.DEFINE_enum(
        "optimizer", DEFAULTS["optimizer"], [*OPTIMIZERS], f"Optimiser: {_describe(OPTIMIZERS)}."
    )
    flags.DEFINE_float(
        "weight_decay",
        DEFAULTS["weight_decay"],
        "Decoupled weight decay of adamw and muon: the fraction of each weight, times the learning "
        "rate, that a step subtracts.",
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "Inverter whose weights initialise training: a directory or a shipped name.",
    )
    define_alias("start", "init_from")
    flags.DEFINE_bool(
        "train_sampler",
        False,
        "Train a sampler of images with the same feature, and freeze the inverter of --init_from.",
    )
    define_alias("samples", "train_sampler")
    flags.DEFINE_enum(
        "network", DEFAULTS["network"], [*NETWORKS], f"Network architecture: {_describe(NETWORKS)}."
    )
    flags.DEFINE_float("width", DEFAULTS["width"], "Width multiplier of the network's channels.")
    flags.DEFINE_integer(
        "hidden_units",
        DEFAULTS["hidden_units"],
        "Units per fully connected layer (vector features only); 0 means 4096 × width.",
    )
    define_alias("units", "hidden_units")
    flags.DEFINE_bool(
        "train_encoder",
        DEFAULTS["train_encoder"],
        "Train the feature's model as well, as the encoder of an autoencoder.",
    )
    flags.DEFINE_enum(
        "uncertainty",
        DEFAULTS["uncertainty"],
        UNCERTAINTY_MODES,
        "Training of an uncertainty head, which predicts a standard deviation for each pixel: "
        "none, joint with the network, or with the network of --init_from frozen.",
    )
    define_alias("spread", "uncertainty")
    accept_old_values("uncertainty", lambda mode: UNCERTAINTY_VALUES.get(mode, mode))
    define_training_flags(DEFAULTS, weights_dtype="float32")
    flags.mark_flag_as_required("workdir")


def _describe(registry: Registry) -> str:
    return ", ".join(f"{name} ({registry.describe(name)})" for name in registry)
