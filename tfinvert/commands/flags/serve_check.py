"""Checks that TensorFlow Serving can run an exported model, without running it.

    tfinvert serve-check --model=models/hog/1

Takes seconds. Refuses a model that calls Python or that has unknown sizes beside the batch; prints
what each signature takes and gives.
"""

from absl import flags


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_string(
        "model", None, "The directory of one version, which holds saved_model.pb.", required=True
    )
