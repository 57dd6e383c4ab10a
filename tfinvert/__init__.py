"""tfinvert: shows what a visual representation keeps and what it discards.

Trains up-convolutional networks that invert image features (Dosovitskiy & Brox, "Inverting Visual
Representations with Convolutional Networks", CVPR 2016).
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Set before TensorFlow is imported, unless the user has set them. Otherwise the output of every
# program would begin with messages about instruction sets, missing CUDA and graph rewriting, and
# TensorFlow would use oneDNN, which halves the training time, only on processors with AVX-512.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tfinvert.errors import InputError
from tfinvert.version import __version__
from tfinvert.zoo.registry import shipped

if TYPE_CHECKING:
    from tfinvert import features
    from tfinvert.inverter import Inverter, load

__all__ = ["Inverter", "InputError", "__version__", "features", "load", "shipped"]


def __getattr__(name: str) -> Any:
    """Imports on first use what needs Keras and its backend, which take seconds to load."""
    if name in ("Inverter", "load"):
        return getattr(importlib.import_module("tfinvert.inverter"), name)
    if name in ("features", "inverter"):
        return importlib.import_module(f"tfinvert.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
