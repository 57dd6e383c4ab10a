"""Declaration of a command of `tfinvert`."""

import dataclasses
import importlib
import sys

from absl import flags

from tfinvert.commands.flags import deprecated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command, declared by a module of `tfinvert/commands/flags/`.

    The module's docstring is the command's help, and its function `define_flags` defines the flags.
    The function `main` of the module with the same name in `tfinvert/commands/` is imported when
    the command runs.

    Attributes:
      module: `__name__` of the declaring module.
      order: position in lists of commands.
      arguments: whether arguments may follow the flags.
      quick: whether the command needs no TensorFlow, and prints nothing but its result.
      any_backend: whether the command runs on every Keras backend; others require TensorFlow.
    """

    module: str
    order: int
    arguments: bool = False
    quick: bool = False
    any_backend: bool = False

    @property
    def name(self) -> str:
        """The word after `tfinvert`."""
        return self.module.rpartition(".")[2].replace("_", "-")

    @property
    def help(self) -> str:
        """The help text; its first line is the description."""
        return sys.modules[self.module].__doc__ or ""

    def define_flags(self) -> list[str]:
        """Defines the flags and returns their names; a process can have those of one command."""
        before = {*flags.FLAGS}
        sys.modules[self.module].define_flags()
        return [x for x in flags.FLAGS if x not in before and not deprecated.is_alias(x)]

    def list_flags(self) -> list[flags.Flag]:
        """The flags, which are defined during this call only."""
        before = {*flags.FLAGS}
        found = [flags.FLAGS[name] for name in self.define_flags()]
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        return found

    def run(self, *arguments: list[str]) -> None:
        """Runs the command with the flags that were parsed."""
        importlib.import_module(self.module.replace(".flags.", ".")).main(*arguments)
