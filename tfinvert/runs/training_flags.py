"""The flags of every program that trains, defined once."""

from collections.abc import Mapping
from typing import Any

from absl import flags

from tfinvert.data.held import MEMORY_GB
from tfinvert.training import strategies
from tfinvert.training.precision import PRECISIONS
from tfinvert.training.settings import JIT
from tfinvert.training.stepping import PACE, Pace

flags.disclaim_key_flags()  # they are the program's that asks for them, and in its --help

FLAGS = flags.FLAGS


def define_training_flags(defaults: Mapping[str, Any], dtype: str) -> None:
    """Defines them for the program that calls.

    Args:
      defaults: of the settings, by name.
      dtype: of the saved weights unless told otherwise.
    """
    flags.DEFINE_string("validation_data", None, "As --data, to validate on; else held out of it.")
    flags.DEFINE_integer("image_size", 64, "Height and width of the images, in pixels.")
    flags.DEFINE_integer("steps", 20000, "Optimiser steps in all.")
    flags.DEFINE_integer("batch_size", defaults["batch_size"], "Images a step, over all devices.")
    flags.DEFINE_float("learning_rate", defaults["learning_rate"], "The optimiser's peak rate.")
    flags.DEFINE_integer("warmup_steps", defaults["warmup_steps"], "Steps of linear warm-up.")
    flags.DEFINE_float("min_crop", None, "Smallest random crop, as a fraction of the largest.")
    flags.DEFINE_integer("shift", defaults["shift"], "Pixels to move a view by, at most.")
    flags.DEFINE_float("jitter", None, "How strongly colours and contrast vary, from 0 to 1.")
    flags.DEFINE_string("cache", None, "Folder for cached views, if there are --cached_views.")
    flags.DEFINE_integer(
        "cached_views", defaults["cached_views"], "Fixed views of each photograph kept on disk."
    )
    flags.DEFINE_float(
        "memory_gb", MEMORY_GB, "Memory for decoded photographs; more go to a file in TMPDIR."
    )
    flags.DEFINE_integer("seed", defaults["seed"], "Of weights, order, crops and dropout.")
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
        strategies.NAMES,
        "How to use several devices; multi_worker, several machines, as TF_CONFIG says.",
    )
    flags.DEFINE_string("workdir", None, "The run's directory.")
    flags.DEFINE_integer("log_every", PACE.log, "Steps between log entries.")
    flags.DEFINE_integer("validate_every", PACE.validate, "Steps between validations.")
    flags.DEFINE_integer("checkpoint_every", PACE.checkpoint, "Steps between checkpoints.")


def pace_of_flags() -> Pace:
    """How often to log, validate and save, as the flags say."""
    return Pace(FLAGS.log_every, FLAGS.validate_every, FLAGS.checkpoint_every)
