"""From an inverter to a SavedModel."""

from absl import flags

from tfinvert import inverter
from tfinvert.serving import export_savedmodel

FLAGS = flags.FLAGS


def main() -> None:
    """Exports, and says what to do next."""
    path = export_savedmodel(
        inverter.load(FLAGS.inverter),
        FLAGS.output,
        version=FLAGS.version,
        endpoints=FLAGS.endpoints,
    )
    print(f"{path}: {', '.join(FLAGS.endpoints)}")
    print(f"check it:  tfinvert serve-check --model={path}")
    print("serve it:  docker compose -f export/docker-compose.yml up")
    print("           export/models.config names the models: as it stands, hog in models/hog")
