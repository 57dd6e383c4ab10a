"""Entry points: `tfinvert COMMAND`, and the programs that run one command."""

import difflib
import sys

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.streams import safe_streams
from tfinvert.config.registry import COMMANDS
from tfinvert.version import __version__

flags.disclaim_key_flags()  # so that --help lists them as flags of the program


def run_command(name: str) -> None:
    """Runs a command with the arguments in `sys.argv`, whose first entry names the program."""
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
        any_backend=command.quick or command.any_backend,
    )


def main() -> None:
    """Runs `tfinvert COMMAND --flag=value …`."""
    with safe_streams():
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
    lines = [f"  {name:{width}}  {COMMANDS.describe(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "tfinvert: see what a visual representation keeps of a photograph, and what it "
            "discards.\n\n    tfinvert COMMAND --flag=value …\n",
            *lines,
            "\n`tfinvert COMMAND --help` describes a command and lists its flags.",
        ]
    )


def _refusal(name: str) -> str:
    known = f"the commands are {', '.join(COMMANDS)}"
    if not name:
        return f"no command; {known}; tfinvert --help describes them"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"unknown command; {known}. Received: {name!r}.{hint}"
