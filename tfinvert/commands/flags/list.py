"""Lists the inverters that come with the package, with their size and error.

    tfinvert list
    tfinvert list --json

A name is what `--inverter` takes.
"""

from absl import flags


def define_flags() -> None:
    """Defines them, for the program that calls."""
    flags.DEFINE_bool("json", False, "As JSON, for programs.")
