"""Exports an inverter for TensorFlow Serving.

    python export/export_savedmodel.py --inverter=hog --output=models/hog
    python export/export_savedmodel.py --inverter=runs/hog/inverter --output=models/hog --version=2
    python export/export_savedmodel.py --inverter=runs/sift/inverter --output=models/sift \\
        --endpoints=invert

Takes seconds. Writes OUTPUT/VERSION/ with the endpoints serving_default (images), reconstruct_bytes
(JPEG or PNG files) and invert (features), checked, and with warm-up requests; docs/serving.md tells
how to call them. A feature that runs Python on the host can only be served from its features.
"""

from absl import flags

from tfinvert import cli, inverter
from tfinvert.serving import ENDPOINTS, export_savedmodel

_INVERTER = flags.DEFINE_string(
    "inverter", None, "A saved inverter's directory, or the name of a shipped one.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The model's directory, named like the model: models/hog.", required=True
)
_VERSION = flags.DEFINE_integer("version", 1, "The version, a directory in --output.", 0)
_ENDPOINTS = flags.DEFINE_list("endpoints", list(ENDPOINTS), "Which endpoints to export.")


def main() -> None:
    """Exports, and says what to do next."""
    path = export_savedmodel(
        inverter.load(_INVERTER.value),
        _OUTPUT.value,
        version=_VERSION.value,
        endpoints=_ENDPOINTS.value,
    )
    print(f"{path}: {', '.join(_ENDPOINTS.value)}")
    print(f"check it:  python export/check_savedmodel.py --model={path}")
    print("serve it:  docker compose -f export/docker-compose.yml up")
    print("           export/models.config names the models: as it stands, hog in models/hog")


if __name__ == "__main__":
    cli.run(main)
