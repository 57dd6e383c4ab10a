"""Provenance metadata for a model card: library versions, machine and peak memory."""

import os
import platform
from typing import Any

import cv2
import keras
import numpy as np
import skimage
import tensorflow as tf

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
    """Returns the versions of every library that affects the values of features and networks."""
    return {
        "tfinvert": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scikit-image": skimage.__version__,
        "python": platform.python_version(),
    }


def _describe_machine() -> str:
    gpus = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join([f"{os.cpu_count()} CPU cores ({platform.machine()})", *gpus])
