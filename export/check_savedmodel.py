"""Checks that TensorFlow Serving can run an exported model, without running it.

    python export/check_savedmodel.py --model=models/hog/1

Takes seconds. Refuses a model that calls Python or that has unknown sizes beside the batch; prints
what each signature takes and gives.
"""

from absl import flags

from tfinvert import cli
from tfinvert.serving import check_savedmodel

_MODEL = flags.DEFINE_string(
    "model", None, "The directory of one version, which holds saved_model.pb.", required=True
)


def main() -> None:
    """Checks, and prints the signatures."""
    for name, lines in check_savedmodel(_MODEL.value).items():
        print(name)
        for line in lines:
            print(f"  {line}")
    print(f"{_MODEL.value}: can be served")


if __name__ == "__main__":
    cli.run(main)
