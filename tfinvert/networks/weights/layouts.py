"""How weight files name and order AlexNet's tensors; from there to Keras' order and back."""

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
    """The names and the axes of the tensors of one kind of file.

    Attributes:
      names: of the kernel and the bias of each layer.
      channels_first: whether kernels are `[out, in, h, w]` and `[units, inputs]` with the inputs
        of fc6 flattened as C, H, W. Otherwise they are as in Keras: `[h, w, in, out]` and
        `[inputs, units]`, flattened as H, W, C.
    """

    names: dict[str, tuple[str, str]]
    channels_first: bool


def _named(first: str, second: str, keys: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {layer: (first.format(key), second.format(key)) for layer, key in keys.items()}


_SAME = {layer: layer for layer in LAYERS}
_MODULES = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
TORCHVISION = Layout(_named("{}.weight", "{}.bias", dict(zip(LAYERS, _MODULES, strict=True))), True)
CAFFE = Layout(_named("{}.weight", "{}.bias", _SAME), True)
NPZ = Layout(_named("{}/kernel", "{}/bias", _SAME), False)
NPY = Layout(_named("{}[0]", "{}[1]", _SAME), False)
_LPIPS = {layer: f"AlexNet_0/Conv_{i}" for i, layer in enumerate(CONVOLUTIONS)}
LPIPS = Layout(_named("{}/kernel", "{}/bias", _LPIPS), False)


@dataclasses.dataclass(frozen=True)
class FileContents:
    """What a file holds, before anything about AlexNet is checked.

    Attributes:
      tensors: by the file's names, in the file's order.
      layout: that of the file.
      variant: which AlexNet, where the file or its format says so.
      input_size: side of the network's input, where the file says so.
      facts: what the file says about where it comes from.
    """

    tensors: Mapping[str, Any]
    layout: Layout
    variant: str = ""
    input_size: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def to_keras(tensors: Mapping[str, Any], layout: Layout, variant: str) -> Layers:
    """Checks every tensor of a file, and brings it into Keras' order.

    Args:
      tensors: arrays by the names of the layout.
      layout: of the file.
      variant: a key of `alexnet.VARIANTS`.

    Returns:
      (kernel, bias) in float32 of conv1 … conv5, and of fc6 … fc8 where the file has them.

    Raises:
      InputError: a tensor is missing, too many, of the wrong shape or type, or not finite.
    """
    layers = _layers_of(tensors, layout)
    found: Layers = {}
    for layer in layers:
        name, bias_name = layout.names[layer]
        kernel, bias = _floats(name, tensors[name]), _floats(bias_name, tensors[bias_name])
        if layer in CONVOLUTIONS:
            kernel = _convolution(name, kernel, layer, layout, variant)
        else:
            before = found[DENSE[DENSE.index(layer) - 1]][1].size if layer != "fc6" else None
            kernel = _dense(name, kernel, before, layout, VARIANTS[variant].widths[-1])
        check_shape(bias_name, bias, kernel.shape[-1:])
        found[layer] = np.ascontiguousarray(kernel), np.ascontiguousarray(bias)
    return found


def from_keras(layers: Layers, layout: Layout, variant: str) -> dict[str, np.ndarray]:
    """The tensors of a file of that layout; what `to_keras` reads."""
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


def _layers_of(tensors: Mapping[str, Any], layout: Layout) -> list[str]:
    """The layers a file has: the convolutions alone, or all."""
    whole = any(name in tensors for layer in DENSE for name in layout.names.get(layer, ()))
    layers = [layer for layer in layout.names if whole or layer in CONVOLUTIONS]
    expected = [name for layer in layers for name in layout.names[layer]]
    missing = [name for name in expected if name not in tensors]
    extra = [str(name) for name in tensors if name not in expected]
    if missing or extra:
        reasons = (("missing", missing), ("not expected", extra))
        raise InputError(
            "not the tensors of an AlexNet: "
            + "; ".join(f"{what}: {_shortened(names)}" for what, names in reasons if names)
        )
    return layers


def _shortened(names: list[str]) -> str:
    first = [name if name.isprintable() and len(name) < 80 else ascii(name[:80]) for name in names]
    return ", ".join(first[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _floats(name: str, tensor: Any) -> np.ndarray:
    array = np.asarray(tensor)
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise InputError(f"{name} holds {array.dtype}; expected floating point")
    return as_float32(name, array)


def as_float32(name: str, array: np.ndarray) -> np.ndarray:
    """A floating point tensor in float32.

    Raises:
      InputError: a value is not finite there.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds values that are not finite in float32")
    return array


def _convolution(
    name: str, kernel: np.ndarray, layer: str, layout: Layout, variant: str
) -> np.ndarray:
    facts, i = VARIANTS[variant], CONVOLUTIONS.index(layer)
    side = _KERNELS[i]
    inputs = (3, *facts.widths)[i] // facts.groups[i]
    if not layout.channels_first:
        check_shape(name, kernel, (side, side, inputs, facts.widths[i]), variant)
        return kernel
    check_shape(name, kernel, (facts.widths[i], inputs, side, side), variant)
    return kernel.transpose(2, 3, 1, 0)


def _dense(
    name: str, kernel: np.ndarray, before: int | None, layout: Layout, channels: int
) -> np.ndarray:
    """A dense kernel as `[inputs, units]`; `before`: the units of the layer before, None of fc6."""
    inputs = 0 if kernel.ndim != 2 else kernel.shape[1 if layout.channels_first else 0]
    side = math.isqrt(inputs // channels)
    fits = inputs == (channels * side * side if before is None else before)
    if not inputs or not kernel.size or not fits:
        expected = f"{channels}·g² (a g×g grid)" if before is None else before
        order = f"[units, {expected}]" if layout.channels_first else f"[{expected}, units]"
        raise InputError(f"{name} has shape {_text(kernel.shape)}; expected {order}")
    if not layout.channels_first:
        return kernel
    if before is not None:
        return kernel.T
    return kernel.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(inputs, -1)


def check_shape(name: str, array: np.ndarray, expected: tuple[int, ...], variant: str = "") -> None:
    """Refuses a tensor of another shape; `variant` is what has the expected one.

    Raises:
      InputError: the tensor has another shape.
    """
    if array.shape != expected:
        owner = f" in {variant}" if variant else ""
        raise InputError(
            f"{name} has shape {_text(array.shape)}; expected{owner} {_text(expected)}"
        )


def _text(shape: tuple[int, ...]) -> str:
    return str(list(shape))
