"""The studio, where its extra is installed."""

from absl import flags

from tfinvert.studio import app

FLAGS = flags.FLAGS


def main() -> None:
    """Runs it until it is told to stop."""
    app.launch(host=FLAGS.host, port=FLAGS.port, open_browser=FLAGS.open)
