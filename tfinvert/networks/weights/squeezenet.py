"""Published SqueezeNet 1.1 weights: found, read, checked, put into a model.

Two files carry them: the one that comes with this package, in float16, and the pickle of the
package `ndf`, of which nothing is run.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import safetensors

from tfinvert.errors import InputError, first_line
from tfinvert.networks.squeezenet import CLASSES, FIRES
from tfinvert.networks.weights import restricted_pickle
from tfinvert.networks.weights.layouts import Layers, as_float32, check_shape
from tfinvert.networks.weights.locations import find_in_package

SHIPPED, NDF = "shipped", "ndf"

_SHIPPED = pathlib.Path(__file__).parent / "files" / "squeezenet.safetensors"
_NDF_FILE = "example_models/weights/squeezenet_weights.pkl"
_NDF_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
_ACCEPTED = "a .safetensors as this package has, or the squeezenet_weights.pkl of ndf"
_LARGEST = 1 << 26  # bytes; in float64 the weights are a seventh of that


def _shapes() -> dict[str, tuple[int, int, int, int]]:
    """The kernel `[h, w, in, out]` of each layer, by its published name."""
    shapes, channels = {"conv1": (3, 3, 3, 64)}, 64
    for fire, (squeezed, expanded) in FIRES.items():
        shapes[f"{fire}/squeeze1x1"] = (1, 1, channels, squeezed)
        shapes[f"{fire}/expand1x1"] = (1, 1, squeezed, expanded)
        shapes[f"{fire}/expand3x3"] = (3, 3, squeezed, expanded)
        channels = 2 * expanded
    return shapes | {"conv10": (1, 1, channels, CLASSES)}


_SHAPES = _shapes()


def find_squeezenet(name: str) -> pathlib.Path:
    """The file of named weights, for `read_squeezenet`.

    Args:
      name: "shipped", those that come with this package; "ndf", those in the package ndf 0.1.4
        where it is installed; or a path.

    Raises:
      InputError: there is no such file, or it is not the published one.
    """
    if name == SHIPPED:
        if not _SHIPPED.is_file():
            raise InputError("SqueezeNet's weights are not part of this installation of tfinvert")
        return _SHIPPED
    if name == NDF:
        return find_in_package("ndf", "0.1.4", _NDF_FILE, _NDF_SHA256)
    path = pathlib.Path(name)
    if not name or not path.is_file():
        raise InputError(
            f"no SqueezeNet weights {str(name)!r}: give {SHIPPED}, {NDF}, or the path of a file "
            f"({_ACCEPTED})"
        )
    return path


def read_squeezenet(path: str | os.PathLike[str]) -> Layers:
    """The weights in a file; nothing in the file is run.

    Args:
      path: a `.safetensors` with conv1/kernel, conv1/bias, fire2/squeeze1x1/kernel, …, or ndf's
        pickle.

    Returns:
      (kernel `[h, w, in, out]`, bias) in float32 by the names of `squeezenet.build`'s layers.

    Raises:
      InputError: the file is neither, is damaged, or a tensor is missing, too many, of the wrong
        type or shape, or not finite.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_file():
            raise InputError(f"no such file; expected {_ACCEPTED}")
        return _checked(_tensors(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged or truncated: {reason}") from error


def assign_squeezenet(model: keras.Model, layers: Layers) -> None:
    """Puts weights into a model of `squeezenet.build`, whole or cut off behind any layer."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(layers[layer.name])


def _tensors(path: pathlib.Path) -> dict[str, Any]:
    """The arrays of a file, as conv1/kernel, conv1/bias, …; by what it begins with."""
    if path.stat().st_size > _LARGEST:
        raise InputError(f"it is larger than {_LARGEST >> 20} MiB; SqueezeNet takes 5")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"\x80"):
        return _unpickled(path.read_bytes())
    if start[8:] != b"{":
        raise InputError(f"not a file of SqueezeNet's weights; expected {_ACCEPTED}")
    with safetensors.safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _unpickled(data: bytes) -> dict[str, Any]:
    values = restricted_pickle.load(data, restricted_pickle.NUMPY_GLOBALS).value
    if not isinstance(values, dict):
        raise InputError("its pickle does not hold a dictionary of layers")
    tensors = {}
    for key, pair in values.items():
        layer = key[:80] if isinstance(key, str) else f"({type(key).__name__})"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"its {layer!a} is not a kernel and a bias")
        for kind, value in zip(("kernel", "bias"), pair, strict=True):
            if not isinstance(value, restricted_pickle.PickledArray):
                raise InputError(f"its {layer!a} holds a {kind} that is no array")
            try:
                tensors[f"{layer}/{kind}"] = value.numpy()
            except (AttributeError, TypeError, ValueError) as error:
                raise InputError(f"its {layer!a} holds a damaged {kind}") from error
    return tensors


def _checked(tensors: Mapping[str, Any]) -> Layers:
    expected = {}
    for layer, shape in _SHAPES.items():
        expected |= {f"{layer}/kernel": shape, f"{layer}/bias": shape[-1:]}
    for what, names in (
        ("lacks", [name for name in expected if name not in tensors]),
        ("has other tensors:", [name for name in tensors if name not in expected]),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(
                "not the tensors of SqueezeNet 1.1: it "
                f"{what} {', '.join(ascii(name[:80])[1:-1] for name in names[:3])}{more}"
            )
    arrays = {name: _floats(name, tensors[name], shape) for name, shape in expected.items()}
    return {
        layer.replace("/", "_"): (arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"])
        for layer in _SHAPES
    }


def _floats(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name} holds {array.dtype}; expected floating point")
    check_shape(name, array, shape)
    return as_float32(name, array)
