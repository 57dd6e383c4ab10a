"""Training on JAX, in processes of their own, gives the weights of training on TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.programs import ROOT
from tests.training import backend_steps

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)


def on_jax(*arguments, **options):
    """Runs Python with Keras on JAX."""
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
    }
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )


def check(finished):
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


FAST = ("everything",)
SLOW = tuple(case for case in backend_steps.CASES if case not in FAST)


def compare(cases, small_photos, folder):
    """Trains on both backends from the same weights, and compares all variables."""
    images = np.ascontiguousarray(small_photos[:8])
    np.save(folder / "images.npy", images)
    ours = {}
    for case in cases:
        initial, *ours[case] = backend_steps.train(case, images)
        np.savez(folder / f"{case}.initial.npz", **initial)
    check(on_jax("-m", "tests.training.backend_steps", folder, *cases))
    for case, (final, losses) in ours.items():
        with np.load(folder / f"{case}.initial.npz") as file:
            initial = dict(file)
        with np.load(folder / f"{case}.final.npz") as file:
            theirs = dict(file)
        np.testing.assert_allclose(theirs.pop("losses"), losses, rtol=1e-3, err_msg=case)
        assert theirs.keys() == final.keys()
        for key, value in final.items():
            np.testing.assert_allclose(theirs[key], value, atol=1e-4, err_msg=f"{case}: {key}")
        moved = [np.abs(final[key] - initial[key]).max() for key in final if final[key].ndim]
        assert max(moved) > 1e-3
        assert final["optimizer/iteration"] == backend_steps.STEPS


def test_all_parts_of_a_step_on_jax_give_the_variables_of_tensorflow(small_photos, tmp_path):
    compare(FAST, small_photos, tmp_path)


@pytest.mark.slow
def test_each_loss_head_and_sampler_on_jax_gives_the_variables_of_tensorflow(
    small_photos, tmp_path
):
    compare(SLOW, small_photos, tmp_path)
