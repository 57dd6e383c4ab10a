"""Provenance metadata for a model card: library versions, machine and peak memory."""

import importlib
import importlib.util
import os
import platform
from typing import Any

import cv2
import keras
import numpy as np
import skimage

from tfinvert.common.backend import BACKEND, gpu_names
from tfinvert.common.memory import peak_memory
from tfinvert.version import __version__


def make_card(**facts: Any) -> dict[str, Any]:
    """Adds versions, machine and peak memory to the facts of a run (data, steps, seed, metrics)."""
    return {
        **facts,
        "versions": library_versions(),
        "machine": _describe_machine(),
        "peak_memory_gb": round(peak_memory(), 2),
    }


def library_versions() -> dict[str, str]:
    """Returns the versions of every library that affects the values of features and networks.

    TensorFlow, which decodes images on every backend, is missing where it is not installed.
    """
    engines = [
        name for name in dict.fromkeys(["tensorflow", BACKEND]) if importlib.util.find_spec(name)
    ]
    return {
        "tfinvert": __version__,
        **{name: importlib.import_module(name).__version__ for name in engines},
        "keras": keras.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scikit-image": skimage.__version__,
        "python": platform.python_version(),
    }


def _describe_machine() -> str:
    return ", ".join([f"{os.cpu_count()} CPU cores ({platform.machine()})", *gpu_names()])
