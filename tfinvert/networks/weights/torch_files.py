"""Tensors out of PyTorch's `.pth` files, without PyTorch.

Since PyTorch 1.6 such a file is a zip archive: `data.pkl` describes the tensors, `data/N` is the
storage N, a plain array of numbers. Before, it was five pickles with the storages after them.
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

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LEGACY_MAGIC = pickle.dumps(_MAGIC, 2)
_MOST = 1000  # tensors; AlexNet has 16
_LARGEST_PICKLE = 1 << 24
_ITEM_SIZES = {"f2": 2, "bf2": 2, "f4": 4, "f8": 8, "i8": 8}


class _Storage(NamedTuple):
    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * _ITEM_SIZES[self.kind]


class _Tensor(NamedTuple):
    storage: Any
    offset: Any
    shape: Any
    strides: Any
    others: tuple[Any, ...]


def _ordered_dict(items: Any = ()) -> collections.OrderedDict:
    if len(items) > _MOST:
        raise InputError(f"it holds a dictionary of {len(items)} values")
    return collections.OrderedDict(items)


_ADMITTED = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _Tensor(*given[:4], given[4:]),
    ("torch._utils", "_rebuild_parameter"): lambda tensor, gradient, hooks: tensor,
    ("torch", "HalfStorage"): "f2",
    ("torch", "BFloat16Storage"): "bf2",
    ("torch", "FloatStorage"): "f4",
    ("torch", "DoubleStorage"): "f8",
    ("torch", "LongStorage"): "i8",
}


def read_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file in either format, by name; views, not copies.

    Raises:
      InputError: the file is of neither format, or holds something else than tensors by name.
      zipfile.BadZipFile, EOFError: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return read_zip_pth(path)
    if start.startswith(LEGACY_MAGIC[:16]):
        return read_legacy_pth(path)
    raise InputError("it is not a .pth file of PyTorch's")


def read_zip_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file in today's format, by name; views, not copies.

    Raises:
      InputError: the archive holds something else than tensors by name, or other sizes than it
        says.
      zipfile.BadZipFile, EOFError: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        most = path.stat().st_size
        top = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(top) != 1:
            raise InputError("it is a zip archive, but not one of PyTorch's")
        prefix = top[0].removesuffix("data.pkl")
        loaded = restricted_pickle.load(
            _stored(archive, top[0], None, min(most, _LARGEST_PICKLE)),
            _ADMITTED,
            persistent=_storage,
        )
        big = f"{prefix}byteorder" in archive.namelist() and (
            _stored(archive, f"{prefix}byteorder", None, 16) == b"big"
        )
        read: dict[str, bytes] = {}

        def bytes_of(storage: _Storage) -> bytes:
            if storage.key not in read:
                name = f"{prefix}data/{storage.key}"
                read[storage.key] = _stored(archive, name, storage.size, most)
            return read[storage.key]

        return _arrays(loaded.value, bytes_of, ">" if big else "<")


def read_legacy_pth(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth` file from before PyTorch 1.6, by name; views, not copies.

    Raises:
      InputError: the file holds something else than tensors by name, or is damaged.
    """
    data = path.read_bytes()
    values, end, storages = [], 0, {}

    def storage_of(identifier: Any) -> _Storage:
        storage = _storage(identifier)
        storages[storage.key] = storage
        return storage

    for _ in range(5):  # magic number, protocol, the machine, the tensors, the storages' order
        value, end = restricted_pickle.load(data, _ADMITTED, end, storage_of)
        values.append(value)
    _, protocol, machine, tensors, keys = values
    if protocol != _PROTOCOL or not isinstance(machine, dict) or not isinstance(keys, list):
        raise InputError(f"it is not of PyTorch's format {_PROTOCOL}")
    parts = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages or len(data) < end + 8:
            raise InputError("its storages are damaged or truncated")
        (count,) = struct.unpack_from("<q", data, end)
        part = memoryview(data)[end + 8 : end + 8 + storages[key].size]
        if count != storages[key].count or len(part) != storages[key].size:
            raise InputError("its storages are damaged or truncated")
        parts[key], end = part, end + 8 + len(part)
    if storages.keys() - parts:
        raise InputError("its storages are damaged or truncated")
    order = "<" if machine.get("little_endian", True) else ">"
    return _arrays(tensors, lambda storage: parts[storage.key], order)


def _stored(archive: zipfile.ZipFile, name: str, size: int | None, most: int) -> bytes:
    """An entry's bytes; PyTorch does not compress them, so none is larger than the archive."""
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise InputError(f"its entry {name[:80]!a} is missing") from error
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        raise InputError(f"its entry {name[:80]!a} is compressed or says it is larger than it is")
    if size is not None and entry.file_size != size:
        raise InputError(
            f"its entry {name[:80]!a} holds {entry.file_size} bytes; its tensors need {size}"
        )
    return archive.read(entry)


def _storage(identifier: Any) -> _Storage:
    """A persistent identifier: ("storage", type, key, device, number of values)."""
    match identifier:
        case ("storage", str(kind), str(key), str(), int(count)) if kind in _ITEM_SIZES:
            found = _Storage(kind, key, count)
        case ("storage", str(kind), str(key), str(), int(count), None) if kind in _ITEM_SIZES:
            found = _Storage(kind, key, count)
        case _:
            raise InputError("its pickle refers to something else than a storage of numbers")
    if count < 0:
        raise InputError(f"its storage {key[:20]!a} has {count} values")
    return found


def _arrays(tensors: Any, bytes_of: Callable[[_Storage], Any], order: str) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict):
        raise InputError("it does not hold a state_dict, tensors by name")
    if len(tensors) > _MOST:
        raise InputError(f"it holds {len(tensors)} values")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            what = name[:80] if isinstance(name, str) else type(name).__name__
            raise InputError(f"its {what!a} is no tensor; expected a state_dict")
    return {name: _array(name, tensor, bytes_of, order) for name, tensor in tensors.items()}


def _array(
    name: str, tensor: _Tensor, bytes_of: Callable[[_Storage], Any], order: str
) -> np.ndarray:
    """A view of a storage; nothing it says about itself is believed."""
    storage, offset, shape, strides, _ = tensor
    numbers = isinstance(shape, tuple) and isinstance(strides, tuple)
    numbers = numbers and all(isinstance(x, int) and x >= 0 for x in (offset, *shape, *strides))
    if not numbers or not isinstance(storage, _Storage) or not len(shape) == len(strides) <= 8:
        raise InputError(f"its {name[:80]!a} is described wrongly")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise InputError(
            f"its {name[:80]!a}, {list(shape)}, reaches beyond its {storage.count} values"
        )
    raw = bytes_of(storage)
    if storage.kind == "bf2":  # the upper half of a float32
        values = (np.frombuffer(raw, order + "u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, order + storage.kind)
    if not count:
        return np.zeros(shape, values.dtype)
    steps = [step * values.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
