"""Opens the studio in a browser: photographs, features and reconstructions to explore.

    tfinvert studio
    tfinvert studio --port=8080 --noopen

Needs the extra `studio`, which installs Gradio. Runs until Ctrl-C.
"""

from absl import flags

from tfinvert.commands.command import Command

COMMAND = Command(module=__name__, order=70)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 for all interfaces.")
    flags.DEFINE_integer("port", 7860, "Port to listen on.", lower_bound=1, upper_bound=65535)
    flags.DEFINE_bool("open", True, "Open the studio in a browser.")
