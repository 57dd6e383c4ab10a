"""A run's directory: `flags.json` first, so that a run is never continued with other flags."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfinvert.common.files import remove_unfinished, write_json
from tfinvert.errors import InputError

LOCK = ".lock"


@contextlib.contextmanager
def lock_directory(path: pathlib.Path) -> Iterator[None]:
    """Holds a directory, made if missing, for as long as the block runs.

    The lock is the kernel's, on the file `.lock`, and so ends with the process, however that ends;
    the file says who holds it. What a killed process had not finished writing is removed.

    Raises:
      InputError: another process holds it; the line says which.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the work directory {path}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"the work directory {path} is in use by {_holder(file)}") from error
        except OSError as error:  # some network file systems have no locks
            print(f"{path} cannot be locked ({error.strerror}): see that one process uses it")
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


def _holder(file: object) -> str:
    file.seek(0)
    try:
        who = json.load(file)
        return (
            f"process {who['pid']} on {who['host']} since {who['since']}: {who['command']}; wait "
            "for it, or give another --workdir"
        )
    except (ValueError, KeyError, TypeError):  # it is just writing it
        return "another process"


FLAGS = "flags.json"


@contextlib.contextmanager
def open_run(path: str | pathlib.Path, flags: Mapping[str, Any]) -> Iterator[pathlib.Path]:
    """Makes a run directory, or takes up one that was made with the same flags, and holds it.

    Args:
      path: a directory that is missing or empty, or an earlier run's.
      flags: what determines the run's result, as JSON values.

    Yields:
      The directory, in which no other process runs until the block ends.

    Raises:
      InputError: the directory holds something else, a run with other flags, is in use by another
        process, or cannot be written; nothing in it is touched.
    """
    path = pathlib.Path(path)
    _check(path, flags)
    with lock_directory(path):
        if not _check(path, flags):  # again, since nobody can be in between now
            try:
                write_json(path / FLAGS, flags)
            except OSError as error:
                raise InputError(f"the work directory {path}: {error.strerror or error}") from error
        yield path


def _check(path: pathlib.Path, flags: Mapping[str, Any]) -> bool:
    """Whether there is a run with these flags; False where one may be begun."""
    if path.exists() and not path.is_dir():
        raise InputError(f"the work directory {path} is a file")
    try:
        if (path / FLAGS).exists():
            _compare(path / FLAGS, json.loads(json.dumps(flags)))
            return True
        if path.exists() and any(file.name != LOCK for file in path.iterdir()):
            raise InputError(
                f"the work directory {path} is neither empty nor a run: no {FLAGS} in it"
            )
    except OSError as error:
        raise InputError(f"the work directory {path}: {error.strerror or error}") from error
    return False


def parse_named_paths(values: Sequence[str], flag: str) -> dict[str, pathlib.Path]:
    """Run directories by what they are of, from a flag's values.

    Args:
      values: each NAME=DIRECTORY.
      flag: its name, for the message.

    Raises:
      InputError: a value has another form, or two have one name.
    """
    runs: dict[str, pathlib.Path] = {}
    for value in values:
        name, _, directory = value.partition("=")
        if not (name and directory) or name in runs:
            raise InputError(f"--{flag} takes NAME=DIRECTORY, each name once. Received: {value!r}")
        runs[name] = pathlib.Path(directory)
    return runs


def read_flags(path: pathlib.Path) -> dict[str, Any]:
    """The flags a run directory was made with.

    Raises:
      InputError: it is no run directory, or its flags are damaged.
    """
    try:
        return dict(json.loads((path / FLAGS).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path} is no run directory: no {FLAGS} in it") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path / FLAGS} is damaged: {error}") from error


def _compare(file: pathlib.Path, flags: Mapping[str, Any]) -> None:
    before = read_flags(file.parent)
    changed = [
        f"{name}={flags.get(name)} (was {before.get(name)})"
        for name in sorted(before.keys() | flags.keys())
        if before.get(name) != flags.get(name)
    ]
    if changed:
        raise InputError(
            f"{file.parent} was made with other flags: {', '.join(changed)}; give the same flags "
            "to go on, or another --workdir"
        )
