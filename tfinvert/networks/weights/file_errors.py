"""Converts errors from unreadable weight files to one-line input errors."""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator

import safetensors
from google.protobuf.message import DecodeError

from tfinvert.errors import InputError, first_line

_READ_ERRORS = (
    OSError,
    EOFError,
    TypeError,
    ValueError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    DecodeError,
    safetensors.SafetensorError,
)


@contextlib.contextmanager
def one_line_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raises the errors of the `with` block as one-line input errors that begin with the path.

    Args:
      path: the weight file that the block reads.

    Raises:
      InputError: the block raised an `InputError`, or an error that damaged files cause.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except _READ_ERRORS as error:
        raise InputError(f"{path} is damaged or truncated: {first_line(error)}") from error
