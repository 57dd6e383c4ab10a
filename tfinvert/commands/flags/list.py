"""Lists the inverters that are shipped with the package, with their size and error.

    tfinvert list
    tfinvert list --json

`--inverter` of other commands takes the names.
"""

from absl import flags

from tfinvert.commands.command import Command

COMMAND = Command(module=__name__, order=80, quick=True)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_bool("json", False, "JSON output.")
