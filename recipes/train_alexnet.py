"""Trains AlexNet to classify photographs: its fully connected head alone, or the whole network.

What it writes into the work directory: `flags.json`, `checkpoints/`, `summaries/` (TensorBoard),
`history.jsonl`, `alexnet.safetensors` (the whole network) and `card.json`. The same command goes on
where an interrupted run stopped. Classes are the sub-folders of a folder, or the labels of a TFDS
data set.

The head on published convolutions, which stay as they are; what they make of two fixed views of
each photograph is computed once and kept on disk:

    python recipes/train_alexnet.py --data=folder:train --validation_data=folder:val \\
        --train=head --image_size=64 --input_size=224 --cache=cache \\
        --cached_views=2 --steps=4000 --weight_decay=5e-4 --workdir=runs/alexnet

What it leaves is a feature like any other:

    python recipes/train_inverter.py --data=folder:train --image_size=64 \\
        --feature=alexnet/fc6:weights=runs/alexnet/alexnet.safetensors --workdir=runs/fc6
"""

import dataclasses

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.flags.shared import define_training_flags, intervals_from_flags
from tfinvert.data.open_source import SOURCE_FORMATS
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
    "What: fc6, fc7 and fc8 alone, or every layer.",
)
flags.DEFINE_string(
    "weights", "compact", f"What to start from: {', '.join(weights.NAMES)}, random, or a file."
)
flags.DEFINE_enum(
    "variant", "", ["", *alexnet.VARIANTS], "Which AlexNet, where the weights do not say."
)
flags.DEFINE_integer(
    "input_size", 0, "Side to which the network resizes them; 0: what its weights were trained on."
)
flags.DEFINE_integer("units", DEFAULTS["units"], "Of fc6 and fc7.")
flags.DEFINE_float("momentum", DEFAULTS["momentum"], "Of gradient descent.")
flags.DEFINE_float("dropout", DEFAULTS["dropout"], "Share of fc6's and fc7's units left out.")
flags.DEFINE_float(
    "weight_decay", DEFAULTS["weight_decay"], "Share of the kernels that is added to the gradient."
)
define_training_flags(DEFAULTS, dtype="float16")
flags.mark_flags_as_required(["data", "workdir"])


def main() -> None:
    """From flags to a run."""
    classification, settings = (
        kind(**{field.name: FLAGS[field.name].value for field in dataclasses.fields(kind)})
        for kind in (ClassifierRun, ClassifierSettings)
    )
    pace = intervals_from_flags()
    run_classifier_training(
        classification, settings, FLAGS.workdir, FLAGS.strategy, pace, FLAGS.cache, FLAGS.memory_gb
    )


if __name__ == "__main__":
    runtime.run(main)
