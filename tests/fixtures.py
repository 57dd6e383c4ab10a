"""What all tests share: two logical CPU devices, photographs, a small inverter."""

import os

import tfinvert  # noqa: F401  # isort: skip  # before TensorFlow, as in programs

import numpy as np
import pytest
import tensorflow as tf

# Golden values and the comparison of one device with two are CPU results, also on a GPU machine.
tf.config.set_visible_devices([], "GPU")
# Must precede TensorFlow's device initialisation; tests train on one and on both devices.
if "PYTEST_XDIST_WORKER" in os.environ:  # one process for each core
    tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from tfinvert import features  # noqa: E402
from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES  # noqa: E402
from tfinvert.data.open_source import open_source  # noqa: E402
from tfinvert.features.standardization import Standardization  # noqa: E402
from tfinvert.inverter import Inverter  # noqa: E402
from tfinvert.metrics.evaluation import read_images  # noqa: E402
from tfinvert.networks import inversion, velocity  # noqa: E402


@pytest.fixture(autouse=True)
def _registrations_end_with_the_test():
    """Drops the features that a test registers."""
    with FEATURES.scoped(), FEATURE_FAMILIES.scoped():
        yield


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """All tiles of scikit-image's photographs, `[n, 64, 64, 3]` in [0, 1]."""
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
    """Shallow velocity networks; tracing deep ones would dominate the tests' run time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(velocity, "BLOCKS", (1, 1, 1))
        yield
