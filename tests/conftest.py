"""What many tests share: a folder for what is temporary, two logical CPU devices, real photographs,
a small network."""

import tfinvert  # noqa: F401  # isort: skip  # before TensorFlow, as in programs

import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

# TFDS leaves folders behind, and TensorFlow the files of AutoGraph where a process does not end by
# itself. So all that is temporary, pytest's own folders and those of programs that tests start
# included, goes into one that this process removes; a worker's lies in that of its controller.
_TEMPORARY = tempfile.TemporaryDirectory(prefix="tfinvert-tests-", ignore_cleanup_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = _TEMPORARY.name

# Golden values and the comparison of two devices with one are for the CPU, also beside a GPU.
tf.config.set_visible_devices([], "GPU")
# Before TensorFlow starts its devices: one test trains on both and compares with one.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from tfinvert import features  # noqa: E402
from tfinvert.data.open import open_source  # noqa: E402
from tfinvert.evaluation import read_images  # noqa: E402
from tfinvert.features.standardization import Standardization  # noqa: E402
from tfinvert.inverter import Inverter  # noqa: E402
from tfinvert.networks import inversion, velocity  # noqa: E402


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """Every tile of scikit-image's photographs, `[n, 64, 64, 3]` in [0, 1]."""
    parts = [open_source("photos", part) for part in ("training", "validation")]
    return np.concatenate([read_images(part, (64, 64)) for part in parts])


@pytest.fixture(scope="session")
def inverter(photos) -> Inverter:
    """A small untrained HOG inverter at 64 pixels, standardised on the photographs."""
    feature = features.get("hog", image_shape=(64, 64, 3))
    standardization = Standardization.measure(feature, [feature(photos)])
    return Inverter(feature, standardization, inversion.build(feature, width=0.25), {"steps": 0})


@pytest.fixture(scope="module")
def few_blocks():
    """Networks that draw are small: to trace them is most of the time that their tests take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(velocity, "BLOCKS", (1, 1, 1))
        yield
