"""The static check of a SavedModel."""

from absl import flags

from tfinvert.serving import check_savedmodel

FLAGS = flags.FLAGS


def main() -> None:
    """Checks, and prints the signatures."""
    for name, lines in check_savedmodel(FLAGS.model).items():
        print(name)
        for line in lines:
            print(f"  {line}")
    print(f"{FLAGS.model}: can be served")
