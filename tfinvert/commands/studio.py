"""Opens the studio: `tfinvert studio`."""

from absl import flags

from tfinvert.studio import app

FLAGS = flags.FLAGS


def main() -> None:
    """Serves the studio until the process is interrupted."""
    app.launch(host=FLAGS.host, port=FLAGS.port, open_browser=FLAGS.open)
