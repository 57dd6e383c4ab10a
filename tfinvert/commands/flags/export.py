"""Exports an inverter as a SavedModel for TensorFlow Serving.

    tfinvert export --inverter=hog --output=models/hog
    tfinvert export --inverter=runs/hog/inverter --output=models/hog --version=2
    tfinvert export --inverter=runs/sift/inverter --output=models/sift --endpoints=invert

Takes seconds. Writes OUTPUT/VERSION/ with the endpoints serving_default (images), reconstruct_bytes
(JPEG or PNG files) and invert (features), with warm-up requests, and checks it; docs/serving.md
describes requests. For a feature that is computed by Python on the host, only the endpoint invert
can be exported.
"""

from absl import flags

from tfinvert.commands.command import Command
from tfinvert.commands.flags.shared import INVERTER_HELP
from tfinvert.config.registry import ENDPOINTS

COMMAND = Command(module=__name__, order=50)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("inverter", None, INVERTER_HELP, required=True)
    flags.DEFINE_string(
        "output", None, "Directory of the model, for example models/hog.", required=True
    )
    flags.DEFINE_integer("version", 1, "Model version: a directory in --output.", lower_bound=0)
    endpoints = "; ".join(f"{name}: {ENDPOINTS.describe(name)}" for name in ENDPOINTS)
    flags.DEFINE_list("endpoints", list(ENDPOINTS), f"Endpoints to export. {endpoints}.")
