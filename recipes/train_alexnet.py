"""Trains AlexNet as a classifier: the fully connected layers only, or the whole network.

Writes into the work directory: `flags.json`, `checkpoints/`, `summaries/` (TensorBoard),
`history.jsonl`, `alexnet.safetensors` (the whole network) and `card.json`. The same command resumes
an interrupted run. The classes are the sub-folders of a folder, or the labels of a TFDS data set.

The fully connected layers on frozen published convolutions, whose features of two fixed views of
each photograph are computed once and cached on disk:

    python recipes/train_alexnet.py --data=folder:train --validation_data=folder:val \\
        --train=head --image_size=64 --input_size=224 --cache=cache \\
        --cached_views=2 --steps=4000 --weight_decay=5e-4 --workdir=runs/alexnet

The trained network can be used as a feature:

    python recipes/train_inverter.py --data=folder:train --image_size=64 \\
        --feature=alexnet/fc6:weights=runs/alexnet/alexnet.safetensors --workdir=runs/fc6
"""

import dataclasses

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.commands.flags.shared import define_training_flags, intervals_from_flags
from tfinvert.config.choices import SOURCE_FORMATS
from tfinvert.networks import alexnet, weights
from tfinvert.runs.classifier import ClassifierRun, run_classifier_training
from tfinvert.training import train_classifier
from tfinvert.training.train_classifier import ClassifierSettings

FLAGS = flags.FLAGS
DEFAULTS = {field.name: field.default for field in dataclasses.fields(ClassifierSettings)}

flags.DEFINE_string("data", None, f"Training photographs with classes: {SOURCE_FORMATS}.")
flags.DEFINE_enum(
    "train",
    DEFAULTS["train"],
    train_classifier.TRAINABLE_PARTS,
    "Trained layers: head for fc6, fc7 and fc8, all for every layer.",
)
flags.DEFINE_string(
    "weights", "compact", f"Initial weights: {', '.join(weights.NAMES)}, random, or a file."
)
flags.DEFINE_enum(
    "variant",
    "",
    ["", *alexnet.VARIANTS],
    "Variant of AlexNet, for weights files that do not name it.",
)
flags.DEFINE_integer(
    "input_size",
    0,
    "Side in pixels to which the network resizes images; 0 means the size of its initial weights.",
)
flags.DEFINE_integer("hidden_units", DEFAULTS["hidden_units"], "Units of fc6 and of fc7.")
define_alias("units", "hidden_units")
flags.DEFINE_float("momentum", DEFAULTS["momentum"], "Momentum of stochastic gradient descent.")
flags.DEFINE_float("dropout", DEFAULTS["dropout"], "Dropout rate of fc6 and fc7.")
flags.DEFINE_float(
    "weight_decay",
    DEFAULTS["weight_decay"],
    "L2 weight decay of the kernels: the fraction of each that is added to its gradient.",
)
define_training_flags(DEFAULTS, weights_dtype="float16")
flags.mark_flags_as_required(["data", "workdir"])


def main() -> None:
    """Runs a training with the program's flags."""
    config, settings = (
        kind(**{field.name: FLAGS[field.name].value for field in dataclasses.fields(kind)})
        for kind in (ClassifierRun, ClassifierSettings)
    )
    run_classifier_training(
        config,
        settings,
        FLAGS.workdir,
        FLAGS.strategy,
        intervals_from_flags(),
        FLAGS.cache,
        FLAGS.memory_gb,
    )


if __name__ == "__main__":
    runtime.run(main)
