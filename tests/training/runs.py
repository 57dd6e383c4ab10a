"""Short training runs that tests compare."""

import contextlib
import dataclasses
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfinvert.features.standardization import Standardization
from tfinvert.training import datasets, strategies
from tfinvert.training.settings import Intervals, Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.summaries import ScalarWriter
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import make_train_step

# This network and optimiser are the fastest to trace, which dominates the time of a short run.
SETTINGS = Settings(
    steps=6,
    batch_size=8,
    width=0.125,
    warmup_steps=2,
    learning_rate=2e-3,
    ema_decay=0.9,
    network="paper",
    optimizer="adam",
    clip_norm=math.inf,
    spike_threshold=math.inf,
)
EVERY_STEP = Intervals(log=1, validate=3, checkpoint=2)


@contextlib.contextmanager
def fewer_statistics_images():
    """Computes statistics from 64 images, as 2048 would dominate the time of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "STATISTICS_IMAGES", 64)
        yield


def losses(history):
    return [entry["loss"] for entry in history]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run leaves: its directory, weights that are equal up to rounding, and its history."""

    workdir: object
    weights: list[np.ndarray]
    statistics: list[np.ndarray]
    history: list[dict]
    inverter: object = None

    def assert_equal(self, other):
        np.testing.assert_allclose(losses(other.history), losses(self.history), rtol=1e-5)
        steps = [[entry["step"] for entry in each.history] for each in (self, other)]
        assert steps[0] == steps[1]
        for a, b in zip(self.weights, other.weights, strict=True):
            np.testing.assert_allclose(b, a, atol=1e-6)
        for a, b in zip(self.statistics, other.statistics, strict=True):
            np.testing.assert_array_equal(b, a)


class TinyState:
    """The smallest state to train: one weight, and one statistic that initialisation sets."""

    def __init__(self):
        self.weight = tf.Variable([5.0, -3.0])
        self.statistic = tf.Variable(0.0, trainable=False)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def trackables(self):
        return {"weight": self.weight, "statistic": self.statistic}

    def initialize(self):
        self.statistic.assign(7.0)

    def is_finite(self):
        return bool(np.isfinite(self.weight).all())

    def log_values(self):
        return {}

    def train_step(self, batch):
        loss = tf.reduce_mean(tf.square(self.weight - batch))
        self.weight.assign_sub(0.1 * (self.weight - batch))
        return loss


def train_tiny(workdir, intervals=EVERY_STEP, wrap_step=None, on_validate=None):
    """Trains a `TinyState` for six steps with the loop of all training.

    Args:
      workdir: created if missing.
      intervals: of the loop.
      wrap_step: from the step and the state to another step.
      on_validate: called with the step.
    """
    workdir.mkdir(exist_ok=True)
    strategy, state = strategies.make_strategy("one"), TinyState()
    start = restore_or_initialize(state, workdir, strategy, state.initialize)
    batches = tf.data.Dataset.range(start.done, 100).map(
        lambda i: (tf.sin(tf.cast(i, tf.float32)),)
    )

    def validate(step):
        if on_validate:
            on_validate(step)
        return {"validation_weight": float(state.weight[0])}

    if start.done < SETTINGS.steps:
        step = state.train_step
        train_loop(
            wrap_step(step, state) if wrap_step else step,
            batches,
            validate,
            start,
            length=SETTINGS,
            strategy=strategy,
            summaries=ScalarWriter(workdir / "summaries"),
            intervals=intervals,
        )
    return Outcome(workdir, [state.weight.numpy()], [state.statistic.numpy()], start.entries)


def copy_until(workdir, copy, step):
    """Copies a run without its checkpoints after a step, and returns the copy."""
    shutil.copytree(workdir, copy)
    for path in (copy / "checkpoints").glob("step-*"):
        if int(path.name.partition(".")[0].removeprefix("step-")) > step:
            path.unlink()
    return copy


class Interrupted(BaseException):
    pass


def interrupting(steps):
    """A `wrap_step` that raises `Interrupted` after a number of steps."""

    def wrap(step, _):
        calls = iter(range(steps))

        def limited(*batch):
            if next(calls, None) is None:
                raise Interrupted
            return step(*batch)

        return limited

    return wrap


@contextlib.contextmanager
def wrapped_steps(module, wrap):
    """Wraps the steps that a training module makes, by a function of the step and the state."""
    make = module.make_train_step

    def make_train_step(state, *arguments):
        return wrap(make(state, *arguments), state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make_train_step", make_train_step)
        yield


def on_tiny_states_and_once_on_a_network(names, cases):
    """Parametrises a test that uses `run_in`: all cases on tiny states, the first on a network."""
    names = (names,) if isinstance(names, str) else names
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return pytest.mark.parametrize(
        ("run_in", *names),
        [
            pytest.param("hog", *rows[0], marks=pytest.mark.slow),
            *(("tiny", *row) for row in rows),
        ],
        indirect=["run_in"],
    )


def run_steps(feature, settings, batch, steps=3, strategy="one", batches=None):
    """Runs some steps without the loop; returns their losses and the state."""
    devices = strategies.make_strategy(strategy)
    with devices.scope():
        state = TrainingState(feature, settings)
        state.standardization = Standardization.measure(feature, [feature(batch)])
    step = make_train_step(state, settings, devices)
    data = tf.data.Dataset.from_tensor_slices(np.stack(batches or [batch] * steps))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    data = data.unbatch().batch(len(batch), drop_remainder=True).with_options(options)
    return [float(step(x)) for x in devices.experimental_distribute_dataset(data)], state
