"""One process at a time in a work directory."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterator

from tfinvert.errors import InputError
from tfinvert.files import remove_unfinished

LOCK = ".lock"


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
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
