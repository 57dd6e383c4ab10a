"""Checks a SavedModel without running it: `tfinvert serve-check`."""

from absl import flags

from tfinvert.serving import check_savedmodel

FLAGS = flags.FLAGS


def main() -> None:
    """Checks the model and prints its signatures."""
    for name, lines in check_savedmodel(FLAGS.model).items():
        print(name)
        for line in lines:
            print(f"  {line}")
    print(f"{FLAGS.model}: can be served")
