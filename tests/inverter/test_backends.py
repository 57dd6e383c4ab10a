"""Inverters on JAX, without TensorFlow, against the same inverters on TensorFlow."""

import importlib.util

import numpy as np
import pytest

from tests.inverter import results_by_backend
from tests.programs import run_on_jax

# Not imported here, which would take seconds.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)

NAMES = ["hog-64", "lbp-64", "alexnet-conv1-64", "hog-samples-64", "sift-64"]


@pytest.mark.slow
def test_jax_gives_the_results_of_tensorflow(tmp_path):
    expected = {
        f"{name}/{quantity}": value
        for name in NAMES
        for quantity, value in results_by_backend.compute(name).items()
    }
    files = tmp_path / "tensorflow.npz", tmp_path / "jax.npz"
    np.savez(files[0], **expected)
    run_on_jax("-m", "tests.inverter.results_by_backend", *files)
    with np.load(files[1]) as found:
        assert {*found} == {*expected}
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, atol=1e-4, rtol=1e-4, err_msg=key)
