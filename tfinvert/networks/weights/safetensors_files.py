"""AlexNet weights as `.safetensors`, under torchvision's names or Caffe's (conv1.weight …)."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy

from tfinvert.common.files import atomic_path
from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights.layouts import CAFFE, TORCHVISION, FileContents, from_keras, to_keras
from tfinvert.networks.weights.values import Weights


def read_safetensors(path: pathlib.Path) -> FileContents:
    """The tensors of a file, and what `save` wrote about them.

    Raises:
      InputError: what the file says about itself is contradictory or unreadable.
      safetensors.SafetensorError: it is damaged.
    """
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata() or {}
    torchvision = any(name.startswith(("features.", "classifier.")) for name in tensors)
    variant = said.get("variant", "torchvision" if torchvision else "")
    if variant and (variant not in VARIANTS or (variant == "torchvision") != torchvision):
        raise InputError(
            f"it says that it is {variant[:80]!a}, which its tensors' names contradict"
        )
    layout = TORCHVISION if torchvision else CAFFE
    return FileContents(tensors, layout, variant, _input_size(said), _facts(said))


def save(
    path: str | os.PathLike[str],
    weights: Weights,
    facts: Mapping[str, Any] | None = None,
    dtype: Literal["float16", "float32"] = "float32",
) -> None:
    """Writes weights as `.safetensors`, whole or not at all; `read` reads them.

    Args:
      path: ends with .safetensors; what is there is replaced.
      weights: what to write.
      facts: where the weights come from, as JSON values; by default those of `weights`.
      dtype: float16 halves the size and rounds.

    Raises:
      InputError: the path ends otherwise, there is no such type, the weights are not those of an
        AlexNet, or float16 cannot hold them.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors" or path.is_dir():
        raise InputError(f"weights are written to a file ending with .safetensors, not to {path}")
    if dtype not in ("float16", "float32"):
        raise InputError(f"weights are stored as float16 or float32. Received: {dtype!r}")
    layout = TORCHVISION if weights.variant == "torchvision" else CAFFE
    tensors = from_keras(weights.layers, layout, weights.variant)
    with np.errstate(over="ignore"):
        tensors = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    to_keras(tensors, layout, weights.variant)  # what could not be read is not written
    said = {
        "variant": weights.variant,
        "facts": json.dumps(dict(weights.facts if facts is None else facts)),
    }
    if weights.input_size is not None:
        said["input_size"] = str(weights.input_size)
    with atomic_path(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(tensors, said))  # save_file is for its owner


def _input_size(said: Mapping[str, str]) -> int | None:
    text = said.get("input_size")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and int(text)):
        raise InputError(f"its input_size is {text[:20]!a}; expected a number of pixels")
    return int(text)


def _facts(said: Mapping[str, str]) -> dict[str, Any]:
    try:
        facts = json.loads(said.get("facts", "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError("its facts are not JSON") from error
    if not isinstance(facts, dict):
        raise InputError("its facts are not a JSON object")
    return facts
