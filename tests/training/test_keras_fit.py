"""What `keras.Model.fit` and Keras' optimisers carry of a run, and what they do not.

Each test is a reason for a part of our own loop and step (docs/decisions/training.md). When one of
them fails after an upgrade of Keras, that part may have become dispensable.
"""

import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.train_step import update_ema

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


def make_model(optimizer=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.1), "mse")
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


def test_backup_resumes_exactly_at_an_epoch_without_shuffling(tmp_path):
    unbroken = make_model()
    fit(unbroken)
    model = resume(tmp_path / "backup", 5)
    assert distance(model, unbroken) == 0 and int(model.optimizer.iterations.numpy()) == 12


def test_backup_repeats_steps_in_the_middle_of_an_epoch(tmp_path):
    unbroken = make_model()
    fit(unbroken)
    model = resume(tmp_path / "backup", 7, save_freq=3)
    assert int(model.optimizer.iterations.numpy()) > 12
    assert distance(model, unbroken) > 1e-3


def test_backup_does_not_restore_the_order_of_the_data(tmp_path):
    unbroken = make_model()
    fit(unbroken, shuffle=True)
    model = resume(tmp_path / "backup", 5, shuffle=True)
    assert distance(model, unbroken) > 1e-3


def test_backup_is_gone_after_training(tmp_path):
    resume(tmp_path / "backup", 5)
    assert not (tmp_path / "backup").exists()


class OneWeight:
    """A weight, and its average by `update_ema`."""

    def __init__(self):
        self.optimizer = keras.optimizers.SGD(1.0)
        self.models = [(make_model(), make_model())]


def test_average_of_keras_stays_at_the_first_weights():
    """Keras' decay is constant: after 20 steps, the average is still that of the first ones."""
    decay, steps = 0.999, 20
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=decay)
    state = OneWeight()
    model, average = state.models[0]
    variable = model.trainable_variables[0]
    start = variable.numpy()
    optimizer.build([variable])
    state.optimizer.build([variable])
    first = None
    for _ in range(steps):
        optimizer.apply([ops.ones_like(variable)])
        state.optimizer.iterations.assign_add(1)
        update_ema(state, decay)
        first = variable.numpy() if first is None else first
    moved = (first - variable.numpy()).mean()
    optimizer.finalize_variable_values([variable])  # sets the weights to the average
    assert abs((first - variable.numpy()).mean()) < 0.02 * moved
    ours = average.trainable_variables[0].numpy()
    assert 0.3 * moved < (start - ours).mean() < moved


@pytest.mark.parametrize("scaled", [False, True])
def test_only_a_loss_scale_survives_a_gradient_that_is_not_finite(scaled):
    """A clipped NaN is NaN. A loss scale skips the step, as `GradientClipper` does."""
    optimizer = keras.optimizers.Adam(0.1, global_clipnorm=1.0)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model = make_model(optimizer)
    model.train_on_batch(X[:4], Y[:4])
    before = model.get_weights()
    model.train_on_batch(X[:4] * np.nan, Y[:4])
    assert np.isfinite(model.get_weights()[0]).all() == scaled
    if scaled:
        np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_clipping_by_norm_lets_spikes_pass():
    """A gradient of a hundred times the usual norm is a step of a hundred times the usual size."""
    variable = keras.Variable(np.zeros(1, "f4"))
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
    optimizer.build([variable])
    clipper = GradientClipper(clip_norm=1.0, spike_threshold=5.0)
    sizes, factors = [], []
    for norm in [0.01] * 5 + [1.0]:
        before = variable.numpy()
        optimizer.apply([ops.full((1,), norm)])
        sizes.append(abs(variable.numpy() - before).item())
        factors.append(norm * float(clipper.factor(ops.full((), norm))))
        clipper.update(ops.full((), norm))
    assert sizes[-1] / sizes[0] == pytest.approx(100, rel=1e-3)
    assert factors[-1] / factors[0] == pytest.approx(5, rel=1e-3)


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
