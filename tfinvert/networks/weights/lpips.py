"""Reads the weights of LPIPS on AlexNet: one weight per channel of five layers."""

import os
import pathlib

import numpy as np
import safetensors

from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights.file_errors import one_line_errors
from tfinvert.networks.weights.layouts import as_float32, check_shape

SHIPPED_FILE = pathlib.Path(__file__).parent / "files" / "lpips-alexnet.safetensors"
_MAX_BYTES = 1 << 20  # the shipped file has 5 kB


def read_channel_weights(path: str | os.PathLike[str] = SHIPPED_FILE) -> list[np.ndarray]:
    """Reads the channel weights of relu1 … relu5, each float32 `[channels]` and not negative.

    Args:
      path: a `.safetensors` file with the tensor names of the published file.

    Raises:
      InputError: the file is missing or damaged, or a tensor is missing, has the wrong shape, is
        not finite or is negative.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"the LPIPS weights are missing; reinstall tfinvert. Expected: {path}")
    with one_line_errors(path):
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        with safetensors.safe_open(path, framework="numpy") as file:
            widths = enumerate(VARIANTS["torchvision"].widths)
            return [_read_tensor(file, f"lin{i}.model.1.weight", width) for i, width in widths]


def _read_tensor(file: safetensors.safe_open, name: str, width: int) -> np.ndarray:
    array = as_float32(name, file.get_tensor(name))
    check_shape(name, array, (1, width, 1, 1))
    if array.min() < 0:
        raise InputError(f"{name} has a negative weight")
    return array.reshape(width)
