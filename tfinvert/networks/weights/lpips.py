"""The weights of LPIPS on AlexNet that come with this package: one a channel of five layers."""

import os
import pathlib

import numpy as np
import safetensors

from tfinvert.errors import InputError, first_line
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights.layouts import as_float32, check_shape

SHIPPED_FILE = pathlib.Path(__file__).parent / "files" / "lpips-alexnet.safetensors"
_LARGEST = 1 << 20  # bytes; the weights are some thousands


def read_channel_weights(path: str | os.PathLike[str] = SHIPPED_FILE) -> list[np.ndarray]:
    """The weights of the channels of relu1 … relu5, each float32 `[channels]`, none below 0.

    Args:
      path: a `.safetensors` with the tensors and the names of the published file.

    Raises:
      InputError: the file is missing or damaged, or a tensor is missing, of the wrong shape, not
        finite or negative.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"LPIPS' weights are not there: {path}")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"it is larger than {_LARGEST >> 20} MiB")
        with safetensors.safe_open(path, framework="numpy") as file:
            widths = enumerate(VARIANTS["torchvision"].widths)
            return [_checked(file, f"lin{i}.model.1.weight", width) for i, width in widths]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} is damaged or truncated: {first_line(error)}") from error


def _checked(file: safetensors.safe_open, name: str, width: int) -> np.ndarray:
    array = as_float32(name, file.get_tensor(name))
    check_shape(name, array, (1, width, 1, 1))
    if array.min() < 0:
        raise InputError(f"{name} holds a weight below 0")
    return array.reshape(width)
