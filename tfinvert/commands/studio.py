"""The studio, where its extra is installed."""

import importlib
import importlib.util

from absl import flags

from tfinvert.errors import InputError

FLAGS = flags.FLAGS


def main() -> None:
    """Runs it until it is told to stop."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the studio needs Gradio: pip install tfinvert[studio]")
    studio = importlib.import_module("tfinvert.studio.app")
    studio.launch(host=FLAGS.host, port=FLAGS.port, open_browser=FLAGS.open)
