"""Finds, reads and assigns the published SqueezeNet 1.1 weights.

Two files contain them: the one shipped with this package, in float16, and the pickle of the package
`ndf`, of which nothing is executed.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import safetensors

from tfinvert.common.files import user_path
from tfinvert.errors import InputError
from tfinvert.networks.squeezenet import CLASSES, FIRES
from tfinvert.networks.weights import restricted_pickle
from tfinvert.networks.weights.file_errors import one_line_errors
from tfinvert.networks.weights.layouts import Layers, as_float32, check_shape
from tfinvert.networks.weights.locations import find_in_package

SHIPPED, NDF = "shipped", "ndf"

SHIPPED_FILE = pathlib.Path(__file__).parent / "files" / "squeezenet.safetensors"
_NDF_FILE = "example_models/weights/squeezenet_weights.pkl"
NDF_SHA256 = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
_ACCEPTED_FORMATS = "a .safetensors as this package has, or the squeezenet_weights.pkl of ndf"
_MAX_BYTES = 1 << 26  # seven times the size of the weights in float64


def _shapes() -> dict[str, tuple[int, int, int, int]]:
    """Lists the shape `[h, w, in, out]` of each layer's kernel, by the layer's published name."""
    shapes, channels = {"conv1": (3, 3, 3, 64)}, 64
    for fire, (squeeze_channels, expand_channels) in FIRES.items():
        shapes[f"{fire}/squeeze1x1"] = (1, 1, channels, squeeze_channels)
        shapes[f"{fire}/expand1x1"] = (1, 1, squeeze_channels, expand_channels)
        shapes[f"{fire}/expand3x3"] = (3, 3, squeeze_channels, expand_channels)
        channels = 2 * expand_channels
    return shapes | {"conv10": (1, 1, channels, CLASSES)}


_SHAPES = _shapes()


def find_squeezenet(name: str) -> pathlib.Path:
    """Finds the file of named SqueezeNet weights, for `read_squeezenet`.

    Args:
      name: "shipped" for the file shipped with this package, "ndf" for that of the installed
        package ndf 0.1.4, or a path.

    Raises:
      InputError: the file does not exist, or is not the published one.
    """
    if name == SHIPPED:
        if not SHIPPED_FILE.is_file():
            raise InputError(
                "SqueezeNet's weights are not part of this installation of tfinvert; reinstall it"
            )
        return SHIPPED_FILE
    if name == NDF:
        return find_in_package("ndf", "0.1.4", _NDF_FILE, NDF_SHA256)
    path = user_path(name)
    if not name or not path.is_file():
        raise InputError(
            f"no such SqueezeNet weights; give {SHIPPED}, {NDF}, or the path of a file "
            f"({_ACCEPTED_FORMATS}). Received: {str(name)!r}"
        )
    return path


def read_squeezenet(path: str | os.PathLike[str]) -> Layers:
    """Reads a file of SqueezeNet weights without executing anything in it.

    Args:
      path: a `.safetensors` file with conv1/kernel, conv1/bias, fire2/squeeze1x1/kernel, …, or
        ndf's pickle.

    Returns:
      Layer name of `squeezenet.build` → (kernel `[h, w, in, out]`, bias) in float32.

    Raises:
      InputError: the file has another format, is damaged, or a tensor is missing or unexpected,
        has the wrong type or shape, or is not finite.
    """
    path = pathlib.Path(path)
    with one_line_errors(path):
        if not path.is_file():
            raise InputError(f"no such file; expected {_ACCEPTED_FORMATS}")
        return _to_layers(_read_tensors(path))


def assign_squeezenet(model: keras.Model, layers: Layers) -> None:
    """Assigns weights to a model of `squeezenet.build`, complete or truncated after any layer."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(layers[layer.name])


def _read_tensors(path: pathlib.Path) -> dict[str, Any]:
    """Reads the arrays conv1/kernel, conv1/bias, …; the first bytes decide the format."""
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"it is larger than {_MAX_BYTES >> 20} MiB; SqueezeNet needs 5 MiB")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"\x80"):
        return _unpickle(path.read_bytes())
    if start[8:] != b"{":
        raise InputError(f"not a file of SqueezeNet weights; expected {_ACCEPTED_FORMATS}")
    with safetensors.safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _unpickle(data: bytes) -> dict[str, Any]:
    values = restricted_pickle.load(data, restricted_pickle.NUMPY_GLOBALS).value
    if not isinstance(values, dict):
        raise InputError("its pickle does not contain a dictionary of layers")
    tensors = {}
    for layer, pair in restricted_pickle.kernels_and_biases(values):
        for kind, value in zip(("kernel", "bias"), pair, strict=True):
            if not isinstance(value, restricted_pickle.PickledArray):
                raise InputError(f"its {layer!a} has a {kind} that is not an array")
            try:
                tensors[f"{layer}/{kind}"] = value.numpy()
            except (AttributeError, TypeError, ValueError) as error:
                raise InputError(f"its {layer!a} has a damaged {kind}") from error
    return tensors


def _to_layers(tensors: Mapping[str, Any]) -> Layers:
    expected = {}
    for layer, shape in _SHAPES.items():
        expected |= {f"{layer}/kernel": shape, f"{layer}/bias": shape[-1:]}
    for problem, names in (
        ("lacks", [name for name in expected if name not in tensors]),
        ("has other tensors:", [name for name in tensors if name not in expected]),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(
                "not the tensors of SqueezeNet 1.1: it "
                f"{problem} {', '.join(ascii(name[:80])[1:-1] for name in names[:3])}{more}"
            )
    arrays = {name: _to_float32(name, tensors[name], shape) for name, shape in expected.items()}
    return {
        layer.replace("/", "_"): (arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"])
        for layer in _SHAPES
    }


def _to_float32(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name} has type {array.dtype}; expected floating point")
    check_shape(name, array, shape)
    return as_float32(name, array)
