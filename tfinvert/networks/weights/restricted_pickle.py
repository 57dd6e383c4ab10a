"""A restricted unpickler: builds arrays, dictionaries, strings and numbers, and nothing else.

A pickle is a program that calls the globals it names. Here every global is either replaced by a
function of this module or rejected, NumPy's classes included: an array is only described
(`PickledArray`), and created, with its size checked, by `PickledArray.numpy`.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfinvert.errors import InputError, first_line

AllowedGlobals = Mapping[tuple[str, str], Any]


class PickledArray:
    """An array as described by a pickle: `shape`, `dtype`, `fortran` and `raw`, not validated."""

    def __setstate__(self, state: Any):
        self.shape, self.dtype, self.fortran, self.raw = state[-4:]

    def numpy(self) -> np.ndarray:
        """Creates the array.

        Raises:
          InputError: the array is not of floating-point numbers.
          ValueError: the number of bytes does not match the shape.
        """
        kind = self.dtype.name.lstrip("<>=|")
        if kind not in ("f2", "f4", "f8"):
            raise InputError(f"an array has type {kind[:20]!a}; expected floating point")
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw  # Python 2's str
        order = ">" if ">" in (self.dtype.order, self.dtype.name[0]) else "<"
        return np.frombuffer(raw, order + kind).reshape(
            tuple(self.shape), order="F" if self.fortran else "C"
        )


class _Dtype:
    def __init__(self, name: str, align: Any = False, copy: Any = False):
        if not isinstance(name, str):
            raise InputError("its pickle has an invalid array type")
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any):
        self.order = state[1]


class _Callable:
    """Wraps a replacement function, separately for each pickle.

    A pickle can set attributes of the objects that it receives; they must not affect the next one.
    """

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
    """Replaces `codecs.encode`, with which protocol 2 of Python 3 writes bytes.

    The text is returned as it is; `PickledArray.numpy` encodes it.
    """
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
    """A value and the position at which its pickle ends."""

    value: Any
    end: int


def load(
    data: bytes,
    allowed_globals: AllowedGlobals,
    start: int = 0,
    persistent_load: Callable[[Any], Any] | None = None,
) -> UnpickledValue:
    """Unpickles the value at a position of a file.

    Args:
      data: the file's bytes.
      allowed_globals: replacement for each (module, name) that the pickle may import.
      start: position at which the pickle begins.
      persistent_load: resolves the pickle's persistent identifiers; None rejects them.

    Raises:
      InputError: the pickle imports another global, or is damaged.
    """
    try:
        stream = io.BytesIO(data)
        stream.seek(start)
        for opcode, argument, _ in pickletools.genops(stream):
            # CPython allocates memory for all memo numbers up to the highest.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
                raise InputError(f"its pickle uses the memo number {argument}, which is too high")
        end = stream.tell()
        stream.seek(start)
        return UnpickledValue(_Unpickler(stream, allowed_globals, persistent_load).load(), end)
    except InputError:
        raise
    except Exception as error:  # a misplaced opcode can raise anything
        raise InputError(f"its pickle is damaged or truncated ({first_line(error)})") from error


def kernels_and_biases(layers: dict[Any, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields the name of each layer with its unvalidated (kernel, bias).

    Raises:
      InputError: the value of a layer is not a pair.
    """
    for key, pair in layers.items():
        layer = key_text(key)
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"its {layer!a} is not a kernel and a bias")
        yield layer, tuple(pair)


def key_text(key: Any) -> str:
    """Shortens a dictionary's key for names and errors.

    A key that is not a string is shown by its type: printing a nested tuple may never end.
    """
    return key[:80] if isinstance(key, str) else f"({type(key).__name__})"


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        stream: io.BytesIO,
        allowed_globals: AllowedGlobals,
        persistent_load: Callable[[Any], Any] | None,
    ):
        super().__init__(stream, encoding="latin1")
        self._allowed_globals, self._persistent_load = allowed_globals, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed_globals:
            requested = f"{module}.{name}"[:80]
            raise InputError(
                f"its pickle imports {requested if requested.isprintable() else ascii(requested)}; "
                "only arrays, dictionaries, strings and numbers are allowed"
            )
        replacement = self._allowed_globals[module, name]
        return _Callable(replacement) if callable(replacement) else replacement

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent_load is None:
            raise InputError("its pickle refers to data outside itself")
        return self._persistent_load(pid)
