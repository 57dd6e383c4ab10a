"""Reads the tensors of PyTorch's `.pth` files without PyTorch.

Since PyTorch 1.6 such a file is a zip archive: `data.pkl` describes the tensors, and `data/N` is
storage N, a plain array of numbers. Older files consist of five pickles followed by the storages.
"""

import collections
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfinvert.errors import InputError
from tfinvert.networks.weights import restricted_pickle

_MAGIC_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LEGACY_MAGIC = pickle.dumps(_MAGIC_NUMBER, 2)
_MAX_TENSORS = 1000  # AlexNet has 16
_MAX_PICKLE_BYTES = 1 << 24
_ITEM_SIZES = {"f2": 2, "bf2": 2, "f4": 4, "f8": 8, "i8": 8}


class _Storage(NamedTuple):
    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.count * _ITEM_SIZES[self.kind]


class _Tensor(NamedTuple):
    storage: Any
    offset: Any
    shape: Any
    strides: Any
    other_arguments: tuple[Any, ...]


def _ordered_dict(items: Any = ()) -> collections.OrderedDict:
    if len(items) > _MAX_TENSORS:
        raise InputError(f"it has a dictionary of {len(items)} values; at most {_MAX_TENSORS}")
    return collections.OrderedDict(items)


_ALLOWED_GLOBALS = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *args: _Tensor(*args[:4], args[4:]),
    ("torch._utils", "_rebuild_parameter"): lambda tensor, gradient, hooks: tensor,
    ("torch", "HalfStorage"): "f2",
    ("torch", "BFloat16Storage"): "bf2",
    ("torch", "FloatStorage"): "f4",
    ("torch", "DoubleStorage"): "f8",
    ("torch", "LongStorage"): "i8",
}


def read_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file of either format, by name; as views, not copies.

    Raises:
      InputError: the file has neither format, or does not contain tensors by name.
      zipfile.BadZipFile, EOFError: the file is damaged.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return read_zip_pth(path)
    if start.startswith(LEGACY_MAGIC[:16]):
        return read_legacy_pth(path)
    raise InputError("it is not a .pth file of PyTorch's")


def read_zip_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file of the current format, by name; as views, not copies.

    Raises:
      InputError: the archive does not contain tensors by name, or its entries have other sizes
        than stated.
      zipfile.BadZipFile, EOFError: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        max_bytes = path.stat().st_size
        pickle_names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickle_names) != 1:
            raise InputError("it is a zip archive, but not one of PyTorch's")
        prefix = pickle_names[0].removesuffix("data.pkl")
        unpickled = restricted_pickle.load(
            _read_entry(archive, pickle_names[0], None, min(max_bytes, _MAX_PICKLE_BYTES)),
            _ALLOWED_GLOBALS,
            persistent_load=_parse_storage,
        )
        big_endian = f"{prefix}byteorder" in archive.namelist() and (
            _read_entry(archive, f"{prefix}byteorder", None, 16) == b"big"
        )
        contents: dict[str, bytes] = {}

        def read_storage(storage: _Storage) -> bytes:
            if storage.key not in contents:
                name = f"{prefix}data/{storage.key}"
                contents[storage.key] = _read_entry(archive, name, storage.size, max_bytes)
            return contents[storage.key]

        return _to_arrays(unpickled.value, read_storage, ">" if big_endian else "<")


def read_legacy_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file from before PyTorch 1.6, by name; as views, not copies.

    Raises:
      InputError: the file does not contain tensors by name, or is damaged.
    """
    data = path.read_bytes()
    values, end, storages = [], 0, {}

    def add_storage(identifier: Any) -> _Storage:
        storage = _parse_storage(identifier)
        storages[storage.key] = storage
        return storage

    for _ in range(5):  # magic number, protocol, system information, tensors, order of storages
        value, end = restricted_pickle.load(data, _ALLOWED_GLOBALS, end, add_storage)
        values.append(value)
    _, protocol, system, tensors, keys = values
    if protocol != _PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        raise InputError(f"it does not have PyTorch's format {_PROTOCOL}")
    contents = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages or len(data) < end + 8:
            raise InputError("its storages are damaged or truncated")
        (count,) = struct.unpack_from("<q", data, end)
        content = memoryview(data)[end + 8 : end + 8 + storages[key].size]
        if count != storages[key].count or len(content) != storages[key].size:
            raise InputError("its storages are damaged or truncated")
        contents[key], end = content, end + 8 + len(content)
    if storages.keys() - contents:
        raise InputError("its storages are damaged or truncated")
    byte_order = "<" if system.get("little_endian", True) else ">"
    return _to_arrays(tensors, lambda storage: contents[storage.key], byte_order)


def _read_entry(archive: zipfile.ZipFile, name: str, size: int | None, max_bytes: int) -> bytes:
    """Reads an entry of an archive.

    PyTorch does not compress entries, so none is larger than the archive.
    """
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise InputError(f"its entry {name[:80]!a} is missing") from error
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > max_bytes:
        raise InputError(
            f"its entry {name[:80]!a} is compressed or its stated size exceeds its actual size"
        )
    if size is not None and entry.file_size != size:
        raise InputError(
            f"its entry {name[:80]!a} has {entry.file_size} bytes; its tensors need {size}"
        )
    return archive.read(entry)


def _parse_storage(identifier: Any) -> _Storage:
    """Parses a persistent identifier: ("storage", type, key, device, number of values)."""
    match identifier:
        case ("storage", str(kind), str(key), str(), int(count)) if kind in _ITEM_SIZES:
            storage = _Storage(kind, key, count)
        case ("storage", str(kind), str(key), str(), int(count), None) if kind in _ITEM_SIZES:
            storage = _Storage(kind, key, count)
        case _:
            raise InputError("its pickle refers to something other than a storage of numbers")
    if count < 0:
        raise InputError(f"its storage {key[:20]!a} has {count} values")
    return storage


def _to_arrays(
    tensors: Any, read_storage: Callable[[_Storage], Any], byte_order: str
) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict):
        raise InputError("it does not contain a state_dict, that is, tensors by name")
    if len(tensors) > _MAX_TENSORS:
        raise InputError(f"it has {len(tensors)} values; at most {_MAX_TENSORS} are read")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            key = name[:80] if isinstance(name, str) else type(name).__name__
            raise InputError(f"its {key!a} is not a tensor; expected a state_dict")
    return {
        name: _to_array(name, tensor, read_storage, byte_order) for name, tensor in tensors.items()
    }


def _to_array(
    name: str, tensor: _Tensor, read_storage: Callable[[_Storage], Any], byte_order: str
) -> np.ndarray:
    """Creates a view of a storage after validating everything that the file states about it."""
    storage, offset, shape, strides, _ = tensor
    valid = isinstance(shape, tuple) and isinstance(strides, tuple)
    valid = valid and all(isinstance(x, int) and x >= 0 for x in (offset, *shape, *strides))
    if not valid or not isinstance(storage, _Storage) or not len(shape) == len(strides) <= 8:
        raise InputError(f"its {name[:80]!a} has an invalid description")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise InputError(
            f"its {name[:80]!a}, {list(shape)}, extends beyond its {storage.count} values"
        )
    raw = read_storage(storage)
    if storage.kind == "bf2":  # bfloat16 is the upper half of a float32
        values = (np.frombuffer(raw, byte_order + "u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, byte_order + storage.kind)
    if not count:
        return np.zeros(shape, values.dtype)
    byte_strides = [step * values.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, byte_strides, writeable=False)
