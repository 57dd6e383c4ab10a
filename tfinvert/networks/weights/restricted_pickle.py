"""Unpickling that can build arrays, dictionaries, strings and numbers, and nothing else.

A pickle is a program that calls what it names. Here every name leads to a function of ours or to
an error, NumPy's classes included: an array is described (`PickledArray`) and only made, with its size
checked, when somebody asks for it.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfinvert.errors import InputError, first_line

AllowedGlobals = Mapping[tuple[str, str], Any]


class PickledArray:
    """An array as its pickle describes it: `shape`, `dtype`, `fortran` and `raw`, unchecked."""

    def __setstate__(self, state: Any):
        self.shape, self.dtype, self.fortran, self.raw = state[-4:]

    def numpy(self) -> np.ndarray:
        """The array.

        Raises:
          InputError: it does not hold floating point numbers.
          ValueError: the bytes do not fill the shape.
        """
        kind = self.dtype.name.lstrip("<>=|")
        if kind not in ("f2", "f4", "f8"):
            raise InputError(f"an array holds {kind[:20]!a}; expected floating point")
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw  # Python 2's
        order = ">" if ">" in (self.dtype.order, self.dtype.name[0]) else "<"
        return np.frombuffer(raw, order + kind).reshape(
            tuple(self.shape), order="F" if self.fortran else "C"
        )


class _Dtype:
    def __init__(self, name: str, align: Any = False, copy: Any = False):
        if not isinstance(name, str):
            raise InputError("its pickle describes an array's type wrongly")
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any):
        self.order = state[1]


class _Callable:
    """One for each pickle, so that a pickle which changes what it was given changes no other."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    return PickledArray()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    array = PickledArray()
    array.__setstate__((shape, dtype, order == "F", raw))
    return array


def _encode(text: Any, encoding: Any) -> Any:
    """How protocol 2 writes bytes under Python 3; `Array.numpy` does it, when it is asked to."""
    if encoding != "latin1":
        raise InputError("its pickle encodes text otherwise than as latin1")
    return text


NUMPY_GLOBALS: AllowedGlobals = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "ndarray",
} | {
    name: function
    for core in ("numpy.core", "numpy._core")
    for name, function in (
        ((f"{core}.multiarray", "_reconstruct"), _reconstruct),
        ((f"{core}.numeric", "_frombuffer"), _frombuffer),
    )
}


class UnpickledValue(NamedTuple):
    """A value and where its pickle ends."""

    value: Any
    end: int


def load(
    data: bytes,
    admitted: AllowedGlobals,
    start: int = 0,
    persistent: Callable[[Any], Any] | None = None,
) -> UnpickledValue:
    """Reads the pickle that begins at `start`.

    Args:
      data: a file's bytes.
      admitted: what stands for each (module, name) that the pickle may ask for.
      start: where it begins.
      persistent: what stands for each of its persistent identifiers.

    Raises:
      InputError: the pickle asks for something else, or is damaged.
    """
    try:
        stream = io.BytesIO(data)
        stream.seek(start)
        for opcode, argument, _ in pickletools.genops(stream):
            # CPython allocates room for all the numbers below that of a memo.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
                raise InputError(f"its pickle numbers a memo {argument}")
        end = stream.tell()
        stream.seek(start)
        return UnpickledValue(_Unpickler(stream, admitted, persistent).load(), end)
    except InputError:
        raise
    except Exception as error:  # an opcode in the wrong place can raise anything
        reason = first_line(error)
        raise InputError(f"its pickle is damaged or truncated ({reason})") from error


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: io.BytesIO, admitted: AllowedGlobals, persistent: Callable[[Any], Any] | None
    ):
        super().__init__(stream, encoding="latin1")
        self._admitted, self._persistent = admitted, persistent

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._admitted:
            asked = f"{module}.{name}"[:80]
            raise InputError(
                f"its pickle asks for {asked if asked.isprintable() else ascii(asked)}; only "
                "arrays, dictionaries, strings and numbers are read"
            )
        found = self._admitted[module, name]
        return _Callable(found) if callable(found) else found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise InputError("its pickle refers to data outside itself")
        return self._persistent(pid)
