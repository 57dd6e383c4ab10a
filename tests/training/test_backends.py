"""Training on JAX, in processes of their own, gives the weights of training on TensorFlow."""

import importlib.util
import json

import numpy as np
import pytest

import tfinvert
from tests.programs import run_on_jax
from tests.training import backend_steps
from tests.training.runs import SETTINGS
from tfinvert import InputError
from tfinvert.training.state import Checkpoints, TrainingState

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)


FAST = ("mse",)  # the fastest to compile
SLOW = tuple(case for case in backend_steps.CASES if case not in FAST)


def compare(cases, small_photos, folder):
    """Trains on both backends from the same weights, and compares all variables."""
    images = np.ascontiguousarray(small_photos[:8])
    np.save(folder / "images.npy", images)
    ours = {}
    for case in cases:
        initial, *ours[case] = backend_steps.train(case, images)
        np.savez(folder / f"{case}.initial.npz", **initial)
    run_on_jax("-m", "tests.training.backend_steps", folder, *cases)
    for case, (final, losses) in ours.items():
        with np.load(folder / f"{case}.initial.npz") as file:
            initial = dict(file)
        with np.load(folder / f"{case}.final.npz") as file:
            theirs = dict(file)
        np.testing.assert_allclose(theirs.pop("losses"), losses, rtol=1e-3, err_msg=case)
        assert theirs.keys() == final.keys()
        for name in {key.partition("/")[0] for key in final}:
            keys = [key for key in final if key.partition("/")[0] == name]
            expected, found = (
                np.concatenate([np.ravel(x[k]) for k in keys]) for x in (final, theirs)
            )
            # Adam moves a weight by its rate also where the gradient is rounding errors.
            off = np.abs(found - expected) > 1e-4 + 1e-3 * np.abs(expected)
            assert off.mean() < 0.01, f"{case}: {name}, {off.mean():.1%}"
            np.testing.assert_allclose(found, expected, atol=0.01, rtol=0.01, err_msg=name)
        moved = [np.abs(final[key] - initial[key]).max() for key in final if final[key].ndim]
        assert max(moved) > 1e-3
        assert final["optimizer/iteration"] == backend_steps.STEPS


@pytest.mark.slow
def test_steps_on_jax_give_the_variables_of_tensorflow(small_photos, tmp_path):
    compare(FAST, small_photos, tmp_path)


@pytest.mark.slow
def test_steps_with_each_loss_head_and_sampler_on_jax_give_the_variables_of_tensorflow(
    small_photos, tmp_path
):
    compare(SLOW, small_photos, tmp_path)


RESUME = """
import pathlib, numpy as np
from tests.training.backend_steps import CASES, train
from tfinvert import InputError
from tfinvert.training.state import has_checkpoint

case, images, run = "everything", np.load("images.npy"), pathlib.Path("run")
assert not has_checkpoint(run)
initial, whole, losses = train(case, images)
_, saved, _ = train(case, images, checkpoints=run)
files = sorted(path.name for path in (run / "checkpoints").iterdir())
assert files == ["step-2.npz", "step-4.npz"], files
assert has_checkpoint(run)
_, again, last = train(case, images, checkpoints=run)  # from step 4
assert last == losses[4:], (last, losses)
newest = run / "checkpoints" / "step-4.npz"
newest.write_bytes(newest.read_bytes()[:10000])
_, resumed, last = train(case, images, checkpoints=run)
assert last == losses[2:], (last, losses)
for key in whole.keys() - {"step"}:
    for other in (saved, again, resumed):
        np.testing.assert_array_equal(whole[key], other[key], err_msg=key)
before = {path: path.read_bytes() for path in (run / "checkpoints").iterdir()}
CASES[case] = CASES[case] | {"loss": "mse"}
train(case, images, checkpoints=pathlib.Path("plain"))
CASES[case] = CASES[case] | {"loss": "mse,adversarial"}
try:
    train(case, images, checkpoints=pathlib.Path("plain"))
except InputError as error:
    assert "is of a run with other settings, as it has no discriminator" in str(error), error
else:
    raise AssertionError
assert before == {path: path.read_bytes() for path in (run / "checkpoints").iterdir()}
"""


@pytest.mark.slow
def test_a_run_on_jax_resumes_to_the_bit(small_photos, tmp_path):
    np.save(tmp_path / "images.npy", small_photos[:8])
    output = run_on_jax("-c", RESUME, cwd=tmp_path).stdout
    assert "step-4 cannot be read; resuming from step-2" in output


def test_checkpoints_of_another_backend_are_refused_in_one_line(hog, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step-2.npz").write_bytes(b"")
    with pytest.raises(InputError, match="has checkpoints of jax; set KERAS_BACKEND to it"):
        Checkpoints(TrainingState(hog, SETTINGS), tmp_path)


COMMAND = "train --feature=hog --data=photos --image_size=32 --validation_images=8 --steps=4"
COMMAND += " --batch_size=4 --width=0.05 --log_every=1 --checkpoint_every=2 --workdir=run"


@pytest.mark.slow
def test_the_command_trains_on_jax(tmp_path):
    run_on_jax("-m", "tfinvert", *COMMAND.split(), cwd=tmp_path)
    lines = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    inverter = tfinvert.load(tmp_path / "run" / "inverter")
    assert inverter.reconstruct(np.full((1, 32, 32, 3), 0.5, np.float32)).shape == (1, 32, 32, 3)
    again = run_on_jax("-m", "tfinvert", *COMMAND.split(), cwd=tmp_path)
    assert "is already complete" in again.stdout


SEVERAL_DEVICES = """
from tfinvert import InputError
from tfinvert.training.strategies import make_strategy
assert make_strategy("auto") is make_strategy("one") is None
try:
    make_strategy("mirrored")
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_several_devices_require_tensorflow():
    finished = run_on_jax("-c", SEVERAL_DEVICES)
    assert finished.stdout.startswith("--strategy=mirrored requires the TensorFlow backend")
