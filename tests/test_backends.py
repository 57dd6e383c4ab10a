"""Features, metrics and losses on JAX, without TensorFlow, have the values of TensorFlow."""

import importlib.util

import numpy as np
import pytest

from tests import results_by_backend
from tests.programs import run_on_jax

# Not imported here, which would take seconds.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)

FAST = ("lbp:cell_size=8@48x57",)
SLOW = (
    "lbp@64x64",
    "lbp:cell_size=40@64x64",
    "hog@64x64",
    "hog:cell_size=5,color=true@51x60",
    "alexnet/conv2+conv5@64x64",
    "sift@64x64",
    "skimage_lbp@64x64",
    "metrics",
    "losses",
    "adversarial",
)


@pytest.mark.parametrize("cases", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=len)
def test_jax_has_the_values_of_tensorflow(cases, photos, tmp_path):
    images = photos[:6]
    noise = np.random.default_rng(0).normal(0, 0.1, images.shape)
    others = (images[::-1] * 0.2 + images * 0.8 + noise).astype(np.float32)
    np.savez(tmp_path / "given.npz", images=images, others=others)
    expected = {case: results_by_backend.compute(case, images, others) for case in cases}
    run_on_jax("-m", "tests.results_by_backend", tmp_path, *cases)
    for case in cases:
        with np.load(tmp_path / f"{case.replace('/', '_')}.npz") as found:
            assert {*found} == {*expected[case]}
            for name, values in expected[case].items():
                assert np.isfinite(values).all() and values.any()
                scale = 1e-6 if case.startswith("lbp") else 1e-4  # counts are exact
                differs = np.abs(found[name] - values) > scale * np.abs(values).max()
                # Rounding decides between two orientations of HOG that are equally near.
                share = 0.005 if case.startswith("hog") else 0
                assert differs.mean() <= share, f"{case}, {name}: {found[name]}, {values}"
