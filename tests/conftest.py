"""Shared test setup: a temporary folder, two logical CPU devices, photographs, a small inverter."""

import tfinvert  # noqa: F401  # isort: skip  # before TensorFlow, as in programs

import itertools
import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

# TFDS leaves folders behind, and so does AutoGraph in killed processes. All temporary files,
# including those of pytest and of programs that tests start, go into one folder that this process
# removes; an xdist worker's folder lies inside its controller's.
_TEMPORARY = tempfile.TemporaryDirectory(prefix="tfinvert-tests-", ignore_cleanup_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = _TEMPORARY.name

# Golden values and the comparison of one device with two are CPU results, also on a GPU machine.
tf.config.set_visible_devices([], "GPU")
# Must precede TensorFlow's device initialisation; tests train on one and on both devices.
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

_SLOW_TESTS_NOT_RUN = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepares the set of slow tests that this run deselects."""
    config.stash[_SLOW_TESTS_NOT_RUN] = set()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Notes which tests of the tier `slow` were deselected."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.config.stash[_SLOW_TESTS_NOT_RUN].add(item.nodeid.partition("[")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the notes of an xdist worker to its controller."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["slow"] = sorted(session.config.stash[_SLOW_TESTS_NOT_RUN])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Takes an xdist worker's notes."""
    node.config.stash[_SLOW_TESTS_NOT_RUN].update(getattr(node, "workeroutput", {}).get("slow", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the slow tests that were not run, and the command that runs them."""
    not_run = terminalreporter.config.stash[_SLOW_TESTS_NOT_RUN]
    if not not_run:
        return
    terminalreporter.section(f"{len(not_run)} slow tests were not run; `make test-all` runs them")
    by_file = itertools.groupby(sorted(not_run), lambda nodeid: nodeid.partition("::")[0])
    for file, tests in by_file:
        names = ", ".join(test.partition("::")[2].removeprefix("test_") for test in tests)
        terminalreporter.write_line(f"{file}: {names}")


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
