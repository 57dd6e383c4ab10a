"""Exports an inverter as a SavedModel: `tfinvert export`."""

from absl import flags

from tfinvert import inverter
from tfinvert.serving import export_savedmodel

FLAGS = flags.FLAGS


def main() -> None:
    """Exports the inverter and prints the command that checks the model."""
    path = export_savedmodel(
        inverter.load(FLAGS.inverter),
        FLAGS.output,
        version=FLAGS.version,
        endpoints=FLAGS.endpoints,
    )
    print(f"{path}: {', '.join(FLAGS.endpoints)}")
    print(f"check it:  tfinvert serve-check --model={path}")
