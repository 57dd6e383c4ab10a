"""Exports an inverter for TensorFlow Serving.

    tfinvert export --inverter=hog --output=models/hog
    tfinvert export --inverter=runs/hog/inverter --output=models/hog --version=2
    tfinvert export --inverter=runs/sift/inverter --output=models/sift --endpoints=invert

Takes seconds. Writes OUTPUT/VERSION/ with the endpoints serving_default (images), reconstruct_bytes
(JPEG or PNG files) and invert (features), checked, and with warm-up requests; docs/serving.md tells
how to call them. A feature that runs Python on the host can only be served from its features.
"""

from absl import flags

from tfinvert.config.choices import ENDPOINTS


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_string(
        "inverter",
        None,
        "A saved inverter's directory, or the name of a shipped one.",
        required=True,
    )
    flags.DEFINE_string(
        "output", None, "The model's directory, named like the model: models/hog.", required=True
    )
    flags.DEFINE_integer("version", 1, "The version, a directory in --output.", 0)
    flags.DEFINE_list("endpoints", list(ENDPOINTS), "Which endpoints to export.")
