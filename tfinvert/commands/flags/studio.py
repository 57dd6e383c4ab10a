"""Opens the studio in a browser: photographs, features and reconstructions to play with.

    tfinvert studio
    tfinvert studio --port=8080 --noopen

It is the extra `studio`, which brings Gradio, and runs until Ctrl-C.
"""

from absl import flags


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_string("host", "127.0.0.1", "The address it listens on: 0.0.0.0 for every one.")
    flags.DEFINE_integer("port", 7860, "The port.", lower_bound=1, upper_bound=65535)
    flags.DEFINE_bool("open", True, "Open it in a browser.")
