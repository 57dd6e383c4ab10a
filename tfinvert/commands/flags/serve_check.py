"""Checks that TensorFlow Serving can run an exported model, without running it.

    tfinvert serve-check --model=models/hog/1

Takes seconds. Rejects a model that calls Python or has unknown dimensions other than the batch, and
prints the inputs and outputs of each signature.
"""

from absl import flags

from tfinvert.commands.command import Command

COMMAND = Command(module=__name__, order=60)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string(
        "model", None, "Directory of one version, which contains saved_model.pb.", required=True
    )
