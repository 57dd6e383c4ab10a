"""Paths of users, atomic writing of files and directories, and reading of array archives."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfinvert.errors import InputError

ESCAPE = "backslashreplace"  # of surrogates, which stand for bytes that are not UTF-8


def user_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Converts a path that a user gives; `~` at its beginning is the home folder."""
    return pathlib.Path(os.path.expanduser(path))


def user_path_in_utf8(path: str | os.PathLike[str]) -> pathlib.Path:
    """Converts a path for a library that requires UTF-8, as TensorFlow does; see `user_path`.

    Raises:
      InputError: the path is not UTF-8.
    """
    path = user_path(path)
    if printable(str(path)) != str(path):
        raise InputError(
            "the name of a folder that TensorFlow writes to must be UTF-8; rename it, or give "
            f"another one. Received: {printable(str(path))}"
        )
    return path


def printable(text: str) -> str:
    """Escapes bytes of file names that are not UTF-8, as in "caf\\udce9"."""
    return text.encode("utf-8", ESCAPE).decode("utf-8")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path whose file replaces `path` when the block succeeds.

    The temporary path lies in the folder of `path`, which is created if missing. When the block
    raises, the temporary file is removed and `path` is left unchanged.

    Args:
      path: the final path.

    Yields:
      The path to write to. There is no file yet; its name ends with the name of `path`.

    Raises:
      IsADirectoryError: `path` is a folder.
      FileNotFoundError: the block did not write the file.
      OSError: the folder cannot be created or written to.
    """
    path = user_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"`path` must name a file, not a folder. Received: path={path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields an empty temporary directory that is renamed to `path` when the block succeeds.

    Args:
      path: the final path, which must not exist.

    Yields:
      An empty directory in the folder of `path`.

    Raises:
      FileExistsError: `path` exists, before the block or at its end.
      OSError: the folder cannot be created or written to.
    """
    path = user_path(path)
    if path.exists():
        raise FileExistsError(f"{path} already exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            raise FileExistsError(f"{path} already exists")
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Removes temporary files and directories that killed processes left in a folder.

    Args:
      folder: a folder that no other process writes to.
    """
    for path in pathlib.Path(folder).glob(".*"):
        if re.match(r"\.[0-9a-f]{12}\.", path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def update_digest(digest: hashlib._Hash, path: str | os.PathLike[str]) -> None:
    """Adds the bytes of a file to a digest, without holding the file in memory."""
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text as UTF-8, atomically; bytes of file names that are not UTF-8 are escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPE)


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Writes values as indented JSON, atomically."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_arrays(
    path: str | os.PathLike[str], max_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file by name; pickled objects are rejected.

    Args:
      path: the file.
      max_bytes: largest total size of the arrays in bytes. A file that would expand to more is
        rejected before memory is allocated. None for no limit.

    Raises:
      InputError: the file is damaged, or larger than `max_bytes`.
      FileNotFoundError: there is no file.
    """
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with pathlib.Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            # zipfile reads no more of a member than its entry in the archive declares.
            size = sum(member.file_size for member in file.zip.infolist())
            if max_bytes is not None and size > max_bytes:
                raise InputError(
                    f"{path} expands to {size} bytes, but at most {max_bytes} are expected"
                )
            return {name: np.asarray(file[name]) for name in file.files}
    except (FileNotFoundError, InputError):
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        AttributeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _temporary_path(path: pathlib.Path) -> pathlib.Path:
    # The name ends with the whole name of `path`, because some writers look at several suffixes:
    # Keras requires ".weights.h5".
    return path.with_name(f".{secrets.token_hex(6)}.{path.name}")
