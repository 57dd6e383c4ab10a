"""What Keras' optimisers bring, and why the training step has parts of its own beside them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfinvert.training import strategies
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.optimizers import Muon


@pytest.fixture(scope="module")
def two_devices():
    return strategies.make_strategy("mirrored")


def variable(shape=(2,), name="kernel"):
    return keras.Variable(np.zeros(shape, np.float32), name=name)


def apply(strategy, optimizer, weight, gradient):
    """Applies a gradient on every replica."""
    tf.function(lambda: strategy.run(lambda: optimizer.apply([tf.constant(gradient)], [weight])))()


def test_keras_ema_has_no_warm_up_of_its_decay():
    weight = variable()
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.999)
    optimizer.build([weight])
    for _ in range(10):
        optimizer.apply([np.full(2, -1, np.float32)], [weight])
    (average,) = [x for x in optimizer.variables if "average" in x.path]
    assert weight.numpy()[0] == 10
    assert average.numpy()[0] < 1.1  # nearly that after the first step; update_ema's is above 5
    expected = 0.0
    for n in range(1, 11):
        expected += (1 - min(0.999, (1 + n) / (10 + n))) * (n - expected)
    assert expected > 5


def test_keras_clips_the_norm_of_each_device_not_of_the_batch(two_devices):
    with two_devices.scope():
        weight = variable()
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        optimizer.build([weight])
    apply(two_devices, optimizer, weight, [3.0, 0.0])
    assert weight.numpy()[0] == pytest.approx(-2)  # not -1, of a gradient of norm 1


def test_keras_clipping_lets_nan_and_spikes_pass():
    weight = variable()
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
    optimizer.build([weight])
    optimizer.apply([np.array([np.nan, 1], np.float32)], [weight])
    assert np.isnan(weight.numpy()).any()
    clipper = GradientClipper(clip_norm=1.0)
    assert float(clipper.factor(np.float32(np.nan))) == 0


def test_keras_loss_scaling_skips_the_step_and_so_delays_the_schedule():
    weight = variable()
    inner = keras.optimizers.SGD(1.0)
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    optimizer.build([weight])
    optimizer.apply([np.full(2, np.inf, np.float32)], [weight])
    assert int(inner.iterations.numpy()) == 0  # one step of the run is done


@pytest.mark.slow
def test_keras_accumulation_fails_on_several_devices(two_devices):
    with two_devices.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1.0, gradient_accumulation_steps=2), "mse")
    with pytest.raises(Exception, match=r"merge_call|cond|[Rr]eplica|control flow"):
        model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=4, verbose=0)


def step_of(optimizer, shape):
    """The change of a variable by two steps."""
    weight = variable(shape)
    optimizer.build([weight])
    for seed in range(2):
        gradient = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        optimizer.apply([gradient], [weight])
    return weight.numpy()


def test_keras_muon_is_ours_for_matrices_but_leaves_convolutions_to_adamw():
    decay = {"weight_decay": 0.1}
    keras_muon = {**decay, "adam_weight_decay": 0.1}
    ours, theirs = (
        step_of(Muon(0.01, **decay), (6, 4)),
        step_of(keras.optimizers.Muon(0.01, **keras_muon), (6, 4)),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    shape = (3, 3, 4, 6)
    ours = step_of(Muon(0.01, **decay), shape)
    theirs = step_of(keras.optimizers.Muon(0.01, **keras_muon), shape)
    adamw = step_of(keras.optimizers.AdamW(0.01, **decay), shape)
    np.testing.assert_allclose(theirs, adamw, atol=1e-6)
    assert np.abs(ours - theirs).max() > 1e-3
