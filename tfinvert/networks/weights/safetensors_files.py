"""Reads AlexNet weights from `.safetensors` files with torchvision's names or Caffe's."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import safetensors

from tfinvert.errors import InputError
from tfinvert.networks.alexnet import VARIANTS
from tfinvert.networks.weights.layouts import CAFFE, TORCHVISION, FileContents


def read_safetensors(path: pathlib.Path) -> FileContents:
    """Reads the tensors of a file and the metadata that `alexnet.save` writes.

    Raises:
      InputError: the metadata is invalid or contradicts the tensors' names.
      safetensors.SafetensorError: the file is damaged.
    """
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    torchvision = any(name.startswith(("features.", "classifier.")) for name in tensors)
    variant = metadata.get("variant", "torchvision" if torchvision else "")
    if variant and (variant not in VARIANTS or (variant == "torchvision") != torchvision):
        raise InputError(
            f"its metadata states the variant {variant[:80]!a}, which its tensors' names contradict"
        )
    layout = TORCHVISION if torchvision else CAFFE
    return FileContents(tensors, layout, variant, _input_size(metadata), _facts(metadata))


def _input_size(metadata: Mapping[str, str]) -> int | None:
    text = metadata.get("input_size")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and int(text)):
        raise InputError(f"its input_size is {text[:20]!a}; expected a number of pixels")
    return int(text)


def _facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        facts = json.loads(metadata.get("facts", "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError("its facts are not JSON") from error
    if not isinstance(facts, dict):
        raise InputError("its facts are not a JSON object")
    return facts
