"""tfinvert: see what a visual representation keeps and what it throws away.

Trains up-convolutional networks that turn features back into images (Dosovitskiy & Brox,
"Inverting Visual Representations with Convolutional Networks", CVPR 2016).
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Before TensorFlow is imported; what is set already counts. Its notes on instruction sets, missing
# CUDA and graph rewriting would otherwise open the output of every program. And where a processor
# has no AVX-512 it leaves oneDNN alone, with which training takes half the time there too.
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
    """What needs TensorFlow, which takes seconds to load, when it is first asked for."""
    if name in ("Inverter", "load"):
        return getattr(importlib.import_module("tfinvert.inverter"), name)
    if name in ("features", "inverter"):
        return importlib.import_module(f"tfinvert.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
