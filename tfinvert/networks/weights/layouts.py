"""Tensor names and axis orders of AlexNet weight files, and conversion to and from Keras'."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS

Layers = dict[str, tuple[np.ndarray, np.ndarray]]

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
DENSE = ("fc6", "fc7", "fc8")
LAYERS = CONVOLUTIONS + DENSE
_KERNELS = (11, 5, 3, 3, 3)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Tensor names and axis order of one file format.

    Attributes:
      names: layer → names of its kernel and bias.
      channels_first: whether kernels are `[out, in, h, w]` and `[units, inputs]`, with the inputs
        of fc6 flattened as C, H, W. Otherwise they are as in Keras: `[h, w, in, out]` and
        `[inputs, units]`, flattened as H, W, C.
    """

    names: dict[str, tuple[str, str]]
    channels_first: bool


def _tensor_names(kernel: str, bias: str, modules: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {layer: (kernel.format(name), bias.format(name)) for layer, name in modules.items()}


_SAME_NAMES = {layer: layer for layer in LAYERS}
_MODULES = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
_TORCHVISION_MODULES = dict(zip(LAYERS, _MODULES, strict=True))
TORCHVISION = Layout(_tensor_names("{}.weight", "{}.bias", _TORCHVISION_MODULES), True)
CAFFE = Layout(_tensor_names("{}.weight", "{}.bias", _SAME_NAMES), True)
NPZ = Layout(_tensor_names("{}/kernel", "{}/bias", _SAME_NAMES), False)
NPY = Layout(_tensor_names("{}[0]", "{}[1]", _SAME_NAMES), False)
_LPIPS_MODULES = {layer: f"AlexNet_0/Conv_{i}" for i, layer in enumerate(CONVOLUTIONS)}
LPIPS = Layout(_tensor_names("{}/kernel", "{}/bias", _LPIPS_MODULES), False)


@dataclasses.dataclass(frozen=True)
class FileContents:
    """The contents of a weight file, before validation against AlexNet.

    Attributes:
      tensors: tensors by the file's names, in the file's order.
      layout: the file's layout.
      variant: AlexNet variant; "" if neither the file nor its format states it.
      input_size: side of the network's input, in pixels; None if the file does not state it.
      facts: provenance stated in the file.
    """

    tensors: Mapping[str, Any]
    layout: Layout
    variant: str = ""
    input_size: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def to_keras(tensors: Mapping[str, Any], layout: Layout, variant: str) -> Layers:
    """Validates the tensors of a file and converts them to Keras' order.

    Args:
      tensors: arrays by the names of the layout.
      layout: the file's layout.
      variant: a key of `alexnet.VARIANTS`.

    Returns:
      Layer name → (kernel, bias) in float32, for conv1 … conv5 and, if the file has them,
      fc6 … fc8.

    Raises:
      InputError: a tensor is missing or unexpected, has the wrong shape or type, or is not finite.
    """
    converted: Layers = {}
    for layer in _find_layers(tensors, layout):
        name, bias_name = layout.names[layer]
        kernel, bias = _to_float32(name, tensors[name]), _to_float32(bias_name, tensors[bias_name])
        if layer in CONVOLUTIONS:
            kernel = _convert_convolution(name, kernel, layer, layout, variant)
        else:
            previous = DENSE[DENSE.index(layer) - 1]
            inputs = converted[previous][1].size if layer != "fc6" else None
            kernel = _convert_dense(name, kernel, inputs, layout, VARIANTS[variant].widths[-1])
        check_shape(bias_name, bias, kernel.shape[-1:])
        converted[layer] = np.ascontiguousarray(kernel), np.ascontiguousarray(bias)
    return converted


def from_keras(layers: Layers, layout: Layout, variant: str) -> dict[str, np.ndarray]:
    """Converts layers from Keras' order to the tensors of a layout; the inverse of `to_keras`."""
    tensors = {}
    for layer, (kernel, bias) in layers.items():
        if layout.channels_first:
            if layer == "fc6":
                channels = VARIANTS[variant].widths[-1]
                side = math.isqrt(kernel.shape[0] // channels)
                kernel = kernel.reshape(side, side, channels, -1).transpose(3, 2, 0, 1)
                kernel = kernel.reshape(kernel.shape[0], -1)
            else:
                kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        name, bias_name = layout.names[layer]
        tensors[name], tensors[bias_name] = np.ascontiguousarray(kernel), np.asarray(bias)
    return tensors


def _find_layers(tensors: Mapping[str, Any], layout: Layout) -> list[str]:
    """Lists the layers in a file: the convolutions only, or all."""
    complete = any(name in tensors for layer in DENSE for name in layout.names.get(layer, ()))
    layers = [layer for layer in layout.names if complete or layer in CONVOLUTIONS]
    expected = [name for layer in layers for name in layout.names[layer]]
    missing = [name for name in expected if name not in tensors]
    unexpected = [str(name) for name in tensors if name not in expected]
    if missing or unexpected:
        problems = (("missing", missing), ("not expected", unexpected))
        raise InputError(
            "not the tensors of an AlexNet: "
            + "; ".join(f"{kind}: {_abbreviate(names)}" for kind, names in problems if names)
        )
    return layers


def _abbreviate(names: list[str]) -> str:
    shown = [name if name.isprintable() and len(name) < 80 else ascii(name[:80]) for name in names]
    return ", ".join(shown[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _to_float32(name: str, tensor: Any) -> np.ndarray:
    array = np.asarray(tensor)
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise InputError(f"{name} has type {array.dtype}; expected floating point")
    return as_float32(name, array)


def as_float32(name: str, array: np.ndarray) -> np.ndarray:
    """Converts a floating-point tensor to float32.

    Args:
      name: the tensor's name, for errors.
      array: the tensor.

    Raises:
      InputError: a value is NaN, infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name} has values that are not finite in float32")
    return array


def _convert_convolution(
    name: str, kernel: np.ndarray, layer: str, layout: Layout, variant: str
) -> np.ndarray:
    spec, i = VARIANTS[variant], CONVOLUTIONS.index(layer)
    side = _KERNELS[i]
    inputs = (3, *spec.widths)[i] // spec.groups[i]
    if not layout.channels_first:
        check_shape(name, kernel, (side, side, inputs, spec.widths[i]), variant)
        return kernel
    check_shape(name, kernel, (spec.widths[i], inputs, side, side), variant)
    return kernel.transpose(2, 3, 1, 0)


def _convert_dense(
    name: str, kernel: np.ndarray, expected_inputs: int | None, layout: Layout, channels: int
) -> np.ndarray:
    """Converts a dense kernel to `[inputs, units]`.

    Args:
      name: the tensor's name, for errors.
      kernel: the tensor.
      expected_inputs: units of the previous layer; None for fc6, whose inputs are a square grid.
      layout: the file's layout.
      channels: channels of that grid.
    """
    inputs = 0 if kernel.ndim != 2 else kernel.shape[1 if layout.channels_first else 0]
    side = math.isqrt(inputs // channels)
    fits = inputs == (channels * side * side if expected_inputs is None else expected_inputs)
    if not inputs or not kernel.size or not fits:
        expected = f"{channels}·g² (a g×g grid)" if expected_inputs is None else expected_inputs
        order = f"[units, {expected}]" if layout.channels_first else f"[{expected}, units]"
        raise InputError(f"{name} has shape {list(kernel.shape)}; expected {order}")
    if not layout.channels_first:
        return kernel
    if expected_inputs is not None:
        return kernel.T
    return kernel.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(inputs, -1)


def check_shape(name: str, array: np.ndarray, expected: tuple[int, ...], variant: str = "") -> None:
    """Checks the shape of a tensor.

    Args:
      name: the tensor's name, for errors.
      array: the tensor.
      expected: the expected shape.
      variant: AlexNet variant that the expected shape belongs to, for errors.

    Raises:
      InputError: the tensor has another shape.
    """
    if array.shape != expected:
        owner = f" in {variant}" if variant else ""
        raise InputError(f"{name} has shape {list(array.shape)}; expected{owner} {list(expected)}")
