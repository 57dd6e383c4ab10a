"""Writing files so that a reader never sees a half-written one, and reading arrays."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path that becomes `path` when the block ends well.

    The temporary path lies in the same folder as `path` (made if missing). When the block
    ends, the file written there replaces `path` in one step; when the block raises, it is
    removed and `path` is left as it was.

    Args:
        path: Where the finished file goes.

    Yields:
        The path to write to. Nothing is there yet, and its name ends with the name of `path`.

    Raises:
        IsADirectoryError: If `path` is a folder.
        FileNotFoundError: If the block ended without writing the file.
        OSError: If the folder cannot be made or written to.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"`path` must name a file, not a folder. Received: path={path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The whole name is kept at the end because some writers look at more than the last suffix
    # (Keras insists on ".weights.h5").
    temporary = path.with_name(f".{secrets.token_hex(6)}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Removes what killed processes left of `atomic_path` and `atomic_directory` in a folder.

    Args:
        folder: One that nobody else writes to.
    """
    for path in pathlib.Path(folder).glob(".*"):
        if re.match(r"\.[0-9a-f]{12}\.", path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Writes values as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_arrays(path: str | os.PathLike[str], most: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, by name; no pickled object is read.

    Args:
        path: The file.
        most: Bytes that the arrays may take; a file that would inflate to more is refused before
            it takes them. None takes any.

    Raises:
        InputError: If the file is damaged, or holds more than `most`.
        FileNotFoundError: If there is none.
    """
    try:
        # Opened here: NumPy leaves a damaged file open.
        with pathlib.Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            # No member gives more than its entry in the archive says: zipfile stops there.
            size = sum(member.file_size for member in file.zip.infolist())
            if most is not None and size > most:
                raise InputError(f"{path} inflates to {size} bytes; {most} are expected at most")
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


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary directory that becomes `path` when the block ends well.

    As `atomic_path`, for a directory of files that belong together.

    Args:
        path: Where the finished directory goes; it must not exist.

    Yields:
        An empty directory beside it.

    Raises:
        FileExistsError: If `path` exists, before the block or at its end.
        OSError: If the folder cannot be made or written to.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(6)}.{path.name}")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            raise FileExistsError(f"{path} exists already")
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
