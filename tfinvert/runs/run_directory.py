"""Run directories: a lock, and `flags.json`, so that a run is only resumed with the same flags."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from tfinvert.common.files import printable, remove_unfinished, user_path_in_utf8, write_json
from tfinvert.config.renames import rename_flags
from tfinvert.errors import InputError, describe_changes

FLAGS = "flags.json"
LOCK = ".lock"


@contextlib.contextmanager
def open_run(path: str | pathlib.Path, flags: Mapping[str, Any]) -> Iterator[pathlib.Path]:
    """Creates a run directory, or opens one that was created with the same flags, and locks it.

    Args:
      path: a directory that is missing, empty, or of an earlier run.
      flags: everything that determines the result of the run, as JSON values.

    Yields:
      The directory, which no other process can open until the block ends.

    Raises:
      InputError: the directory has other content or was created with other flags, another process
        uses it, or it cannot be written. Nothing in it is changed then.
    """
    path = user_path_in_utf8(path)
    _is_run(path, flags)
    with lock_directory(path):
        if not _is_run(path, flags):  # checked again, now that no other process can create one
            try:
                write_json(path / FLAGS, flags)
            except OSError as error:
                raise _unusable(path, error) from error
        yield path


@contextlib.contextmanager
def lock_directory(path: pathlib.Path) -> Iterator[None]:
    """Locks a directory, created if missing, until the block ends.

    The operating system holds the lock, on the file `.lock`, and releases it when the process ends
    for any reason; the file names the process. Unfinished files of killed processes are removed.

    Raises:
      InputError: another process holds the lock.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise _unusable(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"the work directory is in use by {_describe_holder(file)}; wait for it, or give "
                f"another --workdir. Received: {path}"
            ) from error
        except OSError as error:  # some network file systems have no locks
            print(f"{path} cannot be locked ({error.strerror}); do not use it in two processes")
        file.truncate(0)
        began = datetime.datetime.now().isoformat(" ", "seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": began}
        json.dump({**holder, "command": " ".join(sys.argv)}, file)
        file.flush()
        remove_unfinished(path)
        try:
            yield
        finally:
            file.truncate(0)


def read_flags(path: pathlib.Path) -> dict[str, Any]:
    """The flags that a run directory was created with, by their current names and values.

    Raises:
      InputError: the directory is not a run directory, or its flags.json is damaged.
    """
    try:
        return rename_flags(json.loads((path / FLAGS).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"not a run directory: {FLAGS} is missing. Received: {path}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path / FLAGS} is damaged: {error}") from error


def parse_named_paths(values: Sequence[str], flag: str) -> dict[str, pathlib.Path]:
    """Paths by name, from the values of a list flag.

    Args:
      values: strings of the form NAME=DIRECTORY.
      flag: the flag's name, for the error message.

    Raises:
      InputError: a value has another form, or a name is repeated.
    """
    paths: dict[str, pathlib.Path] = {}
    for value in values:
        name, _, directory = value.partition("=")
        name = printable(name)
        if not (name and directory) or name in paths:
            raise InputError(f"--{flag} takes NAME=DIRECTORY, each name once. Received: {value!r}")
        paths[name] = pathlib.Path(directory)
    return paths


def _is_run(path: pathlib.Path, flags: Mapping[str, Any]) -> bool:
    """Returns whether a directory is a run with these flags; False if one may be created."""
    if path.exists() and not path.is_dir():
        raise InputError(f"the work directory is a file; give another --workdir. Received: {path}")
    try:
        if (path / FLAGS).exists():
            _check_same_flags(path, json.loads(json.dumps(flags)))
            return True
        if path.exists() and any(file.name != LOCK for file in path.iterdir()):
            raise InputError(
                f"the work directory is neither empty nor a run ({FLAGS} is missing); give another "
                f"--workdir. Received: {path}"
            )
    except OSError as error:
        raise _unusable(path, error) from error
    return False


def _check_same_flags(path: pathlib.Path, flags: Mapping[str, Any]) -> None:
    before = read_flags(path)
    changed = describe_changes(before, flags)
    if changed:
        raise InputError(
            f"{path} was created with other flags; give the same flags to resume it, or another "
            f"--workdir. Received: {changed}"
        )


def _describe_holder(file: TextIO) -> str:
    file.seek(0)
    try:
        holder = json.load(file)
        return (
            f"process {holder['pid']} on {holder['host']} since {holder['since']} "
            f"({holder['command']})"
        )
    except (ValueError, KeyError, TypeError):  # the process has not written it yet
        return "another process"


def _unusable(path: pathlib.Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(
        f"the work directory cannot be used ({reason}); give another --workdir. Received: {path}"
    )
