"""Exceptions for wrong user input and for interrupted runs."""

from collections.abc import Mapping
from typing import Any


class InputError(ValueError):
    """Wrong input. The message is one line: the problem, then the remedy or what was received.

    The command line programs print it and exit with status 2; in Python it is a ValueError.
    """


class Interrupted(BaseException):
    """A run was interrupted by a signal, and has saved its progress.

    The command line programs print the message and exit with the status that shells report for a
    process that a signal ended. Like KeyboardInterrupt it is not an Exception, so that handlers of
    failures do not catch it.

    Attributes:
      status: exit status, 128 + the number of the signal.
    """

    def __init__(self, message: str, signal: int):
        """Stores the message, one line with the progress and how to resume, and the signal."""
        super().__init__(message)
        self.status = 128 + signal


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its representation if it has none."""
    return (str(error).strip().splitlines() or [repr(error)])[0]


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Lists the values that differ, as "name=NOW (was BEFORE)"; empty if none does."""
    return ", ".join(
        f"{name}={now.get(name)} (was {before.get(name)})"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )
