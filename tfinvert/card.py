"""What made an inverter, written down with it."""

import os
import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinvert.version import __version__


def make_card(**facts: Any) -> dict[str, Any]:
    """Facts of a run (data, steps, seed, metrics, …) with versions and machine beside them."""
    return {**facts, "versions": _versions(), "machine": _machine()}


def _versions() -> Mapping[str, str]:
    return {
        "tfinvert": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _machine() -> str:
    accelerators = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in tf.config.list_physical_devices("GPU")
    ]
    return ", ".join([f"{os.cpu_count()} CPU cores ({platform.machine()})", *accelerators])
