"""Deprecated names of flags and of their values, which go on working for one release."""

from collections.abc import Callable
from typing import Any

from absl import flags

flags.disclaim_key_flags()

FLAGS = flags.FLAGS


def define_alias(old: str, new: str) -> None:
    """Defines a deprecated alias of a flag; neither help nor completion list it."""
    flags.DEFINE_alias(old, new, module_name=__name__)
    FLAGS[old].alias_of = new


def is_alias(name: str) -> bool:
    """Returns whether a defined flag is a deprecated alias."""
    return hasattr(FLAGS[name], "alias_of")


class _RenamingParser(flags.ArgumentParser):
    """A parser that takes old values too, and keeps the last one that it was given."""

    def __init__(self, parser: flags.ArgumentParser, rename: Callable[[str], str]):
        super().__init__()
        self._parser, self._rename = parser, rename
        self.syntactic_help = parser.syntactic_help
        self.enum_values = getattr(parser, "enum_values", ())
        self.old_value: str | None = None

    def parse(self, argument: Any) -> Any:
        value = self._rename(argument) if isinstance(argument, str) else argument
        self.old_value = argument if value != argument else None
        return self._parser.parse(value)

    def flag_type(self) -> str:
        return self._parser.flag_type()


def accept_old_values(name: str, rename: Callable[[str], str]) -> None:
    """Lets a defined flag take deprecated values too.

    Args:
      name: the flag.
      rename: from a value to the new one; returns every other value as it is.
    """
    flag = FLAGS[name]
    # By keywords, since absl shares the parsers that it makes without any.
    flag.parser = _RenamingParser(parser=flag.parser, rename=rename)


def check_deprecated() -> list[str]:
    """Warnings about the deprecated names and values on the command line, one line each.

    Raises:
      flags.IllegalFlagValueError: a flag is given by its old name and by its new one.
    """
    warnings = []
    for name in FLAGS:
        flag = FLAGS[name]
        used = [
            x for x in FLAGS if getattr(FLAGS[x], "alias_of", None) == name and FLAGS[x].present
        ]
        if used and flag.present > sum(FLAGS[x].present for x in used):
            raise flags.IllegalFlagValueError(
                f"--{used[0]} is the old name of --{name}; give --{name} alone"
            )
        old_value = getattr(flag.parser, "old_value", None)
        if flag.present and old_value is not None:
            old = f"{[*used, name][0]}={old_value}"
            warnings.append(f"--{old} is deprecated; use --{name}={flag.value}")
        elif used:
            warnings.append(f"--{used[0]} is deprecated; use --{name}")
    return warnings
