"""The adversarial loss: against NumPy, in steps on one device and two, and in resumed runs."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import SETTINGS, copy_until, run_steps
from tfinvert import InputError, features
from tfinvert.features.standardization import Standardization
from tfinvert.training import losses
from tfinvert.training.losses.adversarial import AdversarialLoss
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState

LOSS = "mse:10,adversarial:0.1"
SIDE = 32
FEATURE = features.get("hog", image_shape=(SIDE, SIDE, 3))
QUICK = Settings(
    steps=100,
    batch_size=8,
    width=0.125,
    learning_rate=2e-3,
    warmup_steps=0,
    network="paper",
    optimizer="adam",
    loss=LOSS,
)


@pytest.fixture(scope="module")
def batch(photos):
    return tf.image.resize(photos[:8], (SIDE, SIDE), antialias=True)


@pytest.fixture(scope="module")
def given(batch):
    """Images, reconstructions and standardised features."""
    images = batch[:2]
    values = FEATURE(images)
    noise = np.random.default_rng(0).normal(0, 0.1, images.shape).astype(np.float32)
    return images, images + noise, Standardization.measure(FEATURE, [FEATURE(batch)])(values)


@pytest.fixture(scope="module")
def adversary():
    tf.keras.utils.set_random_seed(0)
    loss = AdversarialLoss((SIDE, SIDE))
    loss.build(FEATURE, QUICK)
    return loss


def logits(adversary, images, values):
    """The discriminator's logits, of which HOG has one map, as NumPy."""
    values = np.broadcast_to(values, (len(images), *values.shape[1:]))
    maps = adversary.model([tf.constant(images), tf.constant(values)])
    return np.asarray(maps).astype(np.float64)


def softplus(x):
    return np.log1p(np.exp(x))


def test_losses_depend_on_the_difference_of_logits(adversary, given):
    images, reconstructions, seen = given
    ahead = logits(adversary, images, seen) - logits(adversary, reconstructions, seen)
    expected = softplus(ahead).mean((1, 2, 3))
    np.testing.assert_allclose(adversary(*given), expected, rtol=1e-5)
    # The penalties of one pair, by finite differences in each pixel value.
    slopes = []
    for one in (images[:1], reconstructions[:1]):
        step = 1e-2 * np.eye(one[0].numpy().size, dtype=np.float32).reshape(-1, *one.shape[1:])
        moved = [logits(adversary, one + sign * step, seen[:1]).sum((1, 2, 3)) for sign in (1, -1)]
        cells = math.prod(adversary.model.output_shape[1:3])
        slopes.append(np.square((moved[0] - moved[1]) / 2e-2).sum() / cells)
    expected = softplus(-ahead[:1]).mean() + 0.05 * sum(slopes)
    assert 0.05 * sum(slopes) > 1e-3
    assert float(adversary.model_loss(*(x[:1] for x in given))[0]) == pytest.approx(
        expected, rel=1e-3
    )


def test_the_inverters_gradient_is_that_of_its_loss(adversary, given):
    images, reconstructions, seen = given
    with tf.GradientTape() as tape:
        tape.watch(reconstructions)
        value = adversary(images, reconstructions, seen)
    gradient = tape.gradient(value, reconstructions).numpy().astype(np.float64)
    ahead = logits(adversary, images, seen)
    along = np.sign(gradient).astype(np.float32) * 3e-4

    def loss(moved):
        return softplus(ahead - logits(adversary, moved, seen)).mean((1, 2, 3))

    found = (loss(reconstructions + along) - loss(reconstructions - along)) / 2
    np.testing.assert_allclose(found, (gradient * along).sum((1, 2, 3)), rtol=0.05)


@pytest.fixture(scope="module")
def taken(batch):
    """Runs some steps; returns their losses and the state."""

    def run(steps=3, strategy="one", batches=None, **changes):
        settings = dataclasses.replace(QUICK, **changes)
        return run_steps(FEATURE, settings, batch, steps, strategy, batches)

    return run


def discriminator_weights(state):
    return state.loss.trainable_losses[0].model.get_weights()


@pytest.fixture(scope="module")
def plain(taken):
    return taken()


@pytest.mark.slow
def test_two_devices_and_micro_batches_make_the_step_of_the_whole_batch(taken, plain):
    found, state = taken(strategy="mirrored", accumulation_steps=2)
    np.testing.assert_allclose(found, plain[0], rtol=1e-4)
    assert state.log_values() == pytest.approx(plain[1].log_values(), rel=1e-4)
    moved = [
        np.ravel(a - b)
        for a, b in zip(discriminator_weights(state), discriminator_weights(plain[1]), strict=True)
    ]
    # Adam without momentum moves a weight by its rate, also where the gradient is rounding errors.
    assert np.mean(np.abs(np.concatenate(moved)) > 1e-5) < 0.01
    for a, b in zip(state.network.get_weights(), plain[1].network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.fixture(scope="module")
def trained(taken, batch):
    """Losses and state after 41 steps, in the middle of which a batch is poisoned."""
    bad = np.where(np.arange(8)[:, None, None, None] == 3, np.nan, batch).astype(np.float32)
    batches = [batch.numpy()] * 20 + [bad] + [batch.numpy()] * 20
    return taken(batches=batches, loss="mse,adversarial:1e-3", learning_rate=1e-2)


def test_the_first_loss_is_the_weighted_sum_at_the_start(trained, batch):
    settings = dataclasses.replace(QUICK, loss="mse,adversarial:1e-3")
    state = TrainingState(FEATURE, settings)
    state.standardization = Standardization.measure(FEATURE, [FEATURE(batch)])
    values = state.standardization(FEATURE(batch))
    reconstructions = np.asarray(state.network(values))
    (adversarial,) = state.loss.trainable_losses
    squared = np.square(reconstructions - batch).mean((1, 2, 3))
    ahead = logits(adversarial, batch, values) - logits(adversarial, reconstructions, values)
    expected = (squared + 1e-3 * softplus(ahead).mean((1, 2, 3))).mean()
    assert abs(expected - squared.mean()) > 1e-3 * expected  # both terms count
    assert trained[0][0] == pytest.approx(expected, rel=1e-4)


def test_a_discriminator_learns_and_a_poisoned_batch_does_not_reach_it(trained, batch):
    _, state = trained
    (adversarial,) = state.loss.trainable_losses
    values = state.standardization(FEATURE(batch))
    # It is log 2 for equal logits, and larger if the discriminator is right.
    loss = adversarial(batch, state.network(values), values)
    assert float(tf.reduce_mean(loss)) > 1.05 * math.log(2)
    logged = state.log_values()
    assert state.is_finite()
    assert logged["discriminator_held_back"] >= 1
    assert math.isfinite(logged["discriminator_loss"])
    weights = discriminator_weights(state)
    weights[0][:] = np.nan
    adversarial.model.set_weights(weights)
    assert not state.is_finite()


def checkpoint_values(workdir, step):
    """Returns the values of a checkpoint by key."""
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"step-{step}"))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names}


RUN = dataclasses.replace(SETTINGS, loss=LOSS)


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_unbroken_one_in_all_checkpointed_values(train_hog, tmp_path):
    whole = train_hog(tmp_path / "whole", settings=RUN)
    assert all(entry["discriminator_loss"] > 0 for entry in whole.history)
    resumed = train_hog(copy_until(tmp_path / "whole", tmp_path / "run", 4), settings=RUN)
    whole.assert_equal(resumed)
    assert [entry["discriminator_loss"] for entry in resumed.history] == pytest.approx(
        [entry["discriminator_loss"] for entry in whole.history], rel=1e-4
    )
    one, other = (checkpoint_values(tmp_path / name, RUN.steps) for name in ("whole", "run"))
    assert one.keys() == other.keys()
    assert sum(name.startswith("discriminator") for name in one) > 40
    for name in one.keys() - {"save_counter/.ATTRIBUTES/VARIABLE_VALUE"}:
        np.testing.assert_allclose(other[name], one[name], atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_run_without_a_discriminator_is_not_continued_with_one(train, unbroken_hog, tmp_path):
    run = shutil.copytree(unbroken_hog.workdir, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(
        InputError,
        match="step-6 is of a run with .*, as it has no discriminator, no .* Nothing was changed",
    ) as e:
        train(RUN)
    assert "\n" not in str(e.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_trainable_losses_are_listed():
    assert losses.make_loss("mse:10,perceptual", (64, 64)).trainable_losses == []
    (loss,) = losses.make_loss(LOSS, (64, 64)).trainable_losses
    assert isinstance(loss, AdversarialLoss)
    with pytest.raises(InputError, match="perceptual takes layers"):
        losses.make_loss("adversarial=alexnet/conv1", (64, 64))
