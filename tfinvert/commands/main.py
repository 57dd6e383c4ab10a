"""How a command starts: from `tfinvert COMMAND`, and from the program that is named like it."""

import difflib
import sys

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.command import COMMANDS
from tfinvert.version import __version__

flags.disclaim_key_flags()  # they are the program's, and in its --help


def run_command(name: str) -> None:
    """Runs a command on `sys.argv`, whose first entry is how it was called."""
    command = COMMANDS[name]
    for flag in command.define_flags():
        flags.declare_key_flag(flag)
    program = sys.argv[0]
    called = program if program == f"tfinvert {name}" else f"python {program}"
    runtime.run(
        command.run,
        arguments=command.arguments,
        help=command.help.replace(f"tfinvert {name}", called),
        quick=command.quick,
    )


def main() -> None:
    """`tfinvert COMMAND --flag=value …`."""
    name, *rest = sys.argv[1:] or [""]
    if name in ("--help", "-h", "help"):
        print(_overview())
    elif name == "--version":
        print(f"tfinvert {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"tfinvert {name}", *rest]
        run_command(name)
    else:
        sys.exit(runtime.fail(_refusal(name)))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {x.help.splitlines()[0]}" for name, x in COMMANDS.items()]
    return "\n".join(
        [
            "tfinvert: see what a visual representation keeps of a photograph, and what it throws "
            "away.\n\n    tfinvert COMMAND --flag=value …\n",
            *lines,
            "\n`tfinvert COMMAND --help` tells more of one, and lists its flags.",
        ]
    )


def _refusal(name: str) -> str:
    accepted = f"tfinvert takes a command: {', '.join(COMMANDS)}"
    if not name:
        return f"{accepted}; tfinvert --help says what they do"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{accepted}. Received: {name!r}.{hint}"
