"""The commands of `tfinvert`, by name."""

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

from absl import flags


class Command(NamedTuple):
    """A command; what it does is loaded when it runs, its flags before.

    Attributes:
      name: what follows `tfinvert`.
      arguments: whether the list of what follows the flags is taken; else nothing may follow.
      quick: whether it needs no TensorFlow, and prints its result alone.
    """

    name: str
    arguments: bool = False
    quick: bool = False

    @property
    def help(self) -> str:
        """What it does and how it is called; the first line says it in short."""
        return self._flags().__doc__ or ""

    def define_flags(self) -> list[str]:
        """Defines its flags, of which one process can have those of one command; their names."""
        before = {*flags.FLAGS}
        self._flags().define_flags()
        return [name for name in flags.FLAGS if name not in before]

    def run(self, *arguments: list[str]) -> None:
        """Does what the flags say."""
        importlib.import_module(f"tfinvert.commands.{self._stem}").main(*arguments)

    @property
    def _stem(self) -> str:
        return self.name.replace("-", "_")

    def _flags(self) -> ModuleType:
        return importlib.import_module(f"tfinvert.commands.flags.{self._stem}")


def _by_name(commands: Iterable[Command]) -> dict[str, Command]:
    return {command.name: command for command in commands}


COMMANDS = _by_name(
    [
        Command("reconstruct", arguments=True),
        Command("train"),
        Command("evaluate"),
        Command("analyze"),
        Command("export"),
        Command("serve-check"),
        Command("studio"),
        Command("list", quick=True),
        Command("completion", arguments=True, quick=True),
    ]
)


def command_flags(command: Command) -> list[flags.Flag]:
    """The flags of a command, which are defined for this call only."""
    names = command.define_flags()
    found = [flags.FLAGS[name] for name in names]
    flags.FLAGS.remove_flag_values(names)
    return found
