"""What `keras.Model.fit` carries of a run, and what it does not.

Each test is a reason for a part of our own loop and step (docs/decisions/training.md), as are those
of `test_keras_equivalents.py` about Keras' optimisers. When one of them fails after an upgrade of
Keras, that part may have become dispensable.
"""

import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

# Keras 3.15 converts its variables to NumPy in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)).astype("f4"), RNG.normal(size=(16, 1)).astype("f4")


class Interrupt(keras.callbacks.Callback):
    """Ends `fit` by an exception after a number of steps."""

    def __init__(self, steps):
        super().__init__()
        self._steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self._steps -= 1
        if self._steps == 0:
            raise KeyboardInterrupt


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    return model


def fit(model, *callbacks, shuffle=False):
    """Trains for three epochs of four steps."""
    model.fit(X, Y, 4, 3, verbose=0, callbacks=[*callbacks], shuffle=shuffle)


def resume(folder, steps, save_freq="epoch", shuffle=False):
    """Interrupts `fit` after some steps and calls it again, as another process would."""

    def backup():
        return keras.callbacks.BackupAndRestore(folder, save_freq)

    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), backup(), Interrupt(steps), shuffle=shuffle)
    model = make_model()
    fit(model, backup(), shuffle=shuffle)
    return model


def distance(one, other):
    return max(
        abs(a - b).max() for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
def test_backup_resumes_exactly_at_an_epoch(tmp_path, shuffle):
    """With a seed of Keras, also of shuffled arrays."""
    unbroken = make_model()
    fit(unbroken, shuffle=shuffle)
    model = resume(tmp_path / "backup", 5, shuffle=shuffle)
    assert distance(model, unbroken) == 0 and int(model.optimizer.iterations.numpy()) == 12


def test_backup_repeats_steps_in_the_middle_of_an_epoch(tmp_path):
    unbroken = make_model()
    fit(unbroken)
    model = resume(tmp_path / "backup", 7, save_freq=3)
    assert int(model.optimizer.iterations.numpy()) > 12
    assert distance(model, unbroken) > 1e-3


@pytest.mark.slow
def test_backup_is_gone_after_training(tmp_path):
    resume(tmp_path / "backup", 5)
    assert not (tmp_path / "backup").exists()


def run_program(program, backend="tensorflow"):
    """Runs a program in a process of its own: a strategy that has failed breaks later ones."""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split()


REPLICAS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
def fit(**options):
    one = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], one).scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.1, **options), "mse")
    model.fit(np.zeros((16, 4)), np.zeros((16, 1)), 8, verbose=0)
fit()
print("plain")
try:
    fit(gradient_accumulation_steps=2)
    print("accumulated")
except Exception:
    print("failed")
"""


@pytest.mark.slow
def test_replicas_do_not_accumulate_gradients():
    assert run_program(REPLICAS) == ["plain", "failed"]


@pytest.mark.slow
def test_a_step_of_two_optimizers_depends_on_the_backend():
    """A discriminator needs a `train_step`, whose arguments are others on every backend."""
    assert [*inspect.signature(keras.Model.train_step).parameters] == ["self", "data"]
    program = "import inspect, keras; print(*inspect.signature(keras.Model.train_step).parameters)"
    assert run_program(program, "jax") == ["self", "state", "data"]
