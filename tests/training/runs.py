"""Short runs of training that tests compare."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfinvert.features.standardization import Standardization
from tfinvert.training import datasets, strategies
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.train_inverter import Intervals
from tfinvert.training.train_step import make_train_step

DEFAULTS = Settings(
    steps=6, batch_size=8, width=0.125, warmup_steps=2, learning_rate=2e-3, ema_decay=0.9
)
# Quick to trace, which is most of the time here.
SETTINGS = dataclasses.replace(DEFAULTS, network="paper", optimizer="adam")
EVERY_STEP = Intervals(log=1, validate=3, checkpoint=2)


@contextlib.contextmanager
def few_measured():
    """Fewer images than programs take are measured first, which would take most of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "STATISTICS_IMAGES", 64)
        yield


def losses(history):
    return [entry["loss"] for entry in history]


class Unbroken:
    """A run that nothing happened to: its directory, its network's weights, its history."""

    def __init__(self, train_in, workdir, **more):
        self.workdir = workdir
        self.inverter, self.history = train_in(workdir, **more)
        self.entries = [*self.history]

    def assert_equal(self, inverter, history):
        np.testing.assert_allclose(losses(history), losses(self.entries), rtol=1e-5)
        assert [entry["step"] for entry in history] == [entry["step"] for entry in self.entries]
        pairs = zip(
            self.inverter.network.get_weights(), inverter.network.get_weights(), strict=True
        )
        for a, b in pairs:
            np.testing.assert_allclose(a, b, atol=1e-6)
        for name in ("mean", "scale"):
            a, b = (getattr(each.standardization, name) for each in (self.inverter, inverter))
            np.testing.assert_array_equal(a, b)


class Interrupted(BaseException):
    pass


def interrupt_after(patch, module, steps):
    """Lets the steps that `module` makes be interrupted after so many."""
    made = module.make_step

    def make_step(*arguments):
        step, calls = made(*arguments), iter(range(steps))

        def limited(*batch):
            if next(calls, None) is None:
                raise Interrupted
            return step(*batch)

        return limited

    patch.setattr(module, "make_step", make_step)


def take(feature, settings, batch, steps=3, strategy="one", batches=None):
    """The losses of some steps without a loop around them, and the state after them."""
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
