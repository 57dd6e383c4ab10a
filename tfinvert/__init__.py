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
    from tfinvert.inverter.model import Inverter, load
    from tfinvert.training import callbacks, losses
    from tfinvert.training.inversion_model import InversionModel

__all__ = [
    "InputError",
    "InversionModel",
    "Inverter",
    "__version__",
    "callbacks",
    "features",
    "load",
    "losses",
    "shipped",
]

# Imported on first use, as they need Keras and its backend, which take seconds to load.
_OBJECTS = {
    "InversionModel": "tfinvert.training.inversion_model",
    "Inverter": "tfinvert.inverter",
    "load": "tfinvert.inverter",
}
_MODULES = {
    "callbacks": "tfinvert.training.callbacks",
    "features": "tfinvert.features",
    "inverter": "tfinvert.inverter",
    "losses": "tfinvert.training.losses",
}


def __getattr__(name: str) -> Any:
    """Imports an object or a module on first use."""
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
