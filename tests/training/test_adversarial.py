"""The adversarial loss: against NumPy, in steps on one device and two, resumed, and refused."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import SETTINGS, Interrupted, Unbroken, interrupt_after, take
from tfinvert import InputError, features
from tfinvert.features.standardization import Standardization
from tfinvert.training import losses, train_inverter
from tfinvert.training.losses.adversarial import AdversarialLoss
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState

LOSS = "squared:10,adversarial:0.1"
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
    made = AdversarialLoss((SIDE, SIDE))
    made.build(FEATURE, QUICK)
    return made


def verdict(adversary, images, seen):
    """Its one map for HOG, as NumPy, of as many images as there are."""
    seen = np.broadcast_to(seen, (len(images), *seen.shape[1:]))
    found = adversary.model([tf.constant(images), tf.constant(seen)])
    return np.asarray(found).astype(np.float64)


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_losses_are_of_the_difference_of_verdicts(adversary, given):
    images, reconstructions, seen = given
    ahead = verdict(adversary, images, seen) - verdict(adversary, reconstructions, seen)
    expected = softplus(ahead).mean((1, 2, 3))
    np.testing.assert_allclose(adversary(*given), expected, rtol=1e-5)
    # Of one image the discriminator's slope, by moving each of its values.
    slopes = []
    for one in (images[:1], reconstructions[:1]):
        step = 1e-2 * np.eye(one[0].numpy().size, dtype=np.float32).reshape(-1, *one.shape[1:])
        moved = [verdict(adversary, one + sign * step, seen[:1]).sum((1, 2, 3)) for sign in (1, -1)]
        cells = math.prod(adversary.model.output_shape[1:3])
        slopes.append(np.square((moved[0] - moved[1]) / 2e-2).sum() / cells)
    expected = softplus(-ahead[:1]).mean() + 0.05 * sum(slopes)
    assert 0.05 * sum(slopes) > 1e-3
    assert float(adversary.own(*(x[:1] for x in given))[0]) == pytest.approx(expected, rel=1e-3)


def test_the_inverters_gradient_is_that_of_its_loss(adversary, given):
    images, reconstructions, seen = given
    with tf.GradientTape() as tape:
        tape.watch(reconstructions)
        value = adversary(images, reconstructions, seen)
    gradient = tape.gradient(value, reconstructions).numpy().astype(np.float64)
    ahead = verdict(adversary, images, seen)
    along = np.sign(gradient).astype(np.float32) * 3e-4

    def loss(moved):
        return softplus(ahead - verdict(adversary, moved, seen)).mean((1, 2, 3))

    found = (loss(reconstructions + along) - loss(reconstructions - along)) / 2
    np.testing.assert_allclose(found, (gradient * along).sum((1, 2, 3)), rtol=0.05)


@pytest.fixture(scope="module")
def taken(batch):
    """The losses of some steps, and the state after them."""

    def run(steps=3, strategy="one", batches=None, **changes):
        settings = dataclasses.replace(QUICK, **changes)
        return take(FEATURE, settings, batch, steps, strategy, batches)

    return run


def judge(state):
    return state.loss.learners[0].model.get_weights()


@pytest.fixture(scope="module")
def plain(taken):
    return taken()


def test_two_devices_and_micro_batches_make_the_step_of_the_whole_batch(taken, plain):
    found, state = taken(strategy="mirrored", accumulate=2)
    np.testing.assert_allclose(found, plain[0], rtol=1e-4)
    assert state.notes() == pytest.approx(plain[1].notes(), rel=1e-4)
    moved = [np.ravel(a - b) for a, b in zip(judge(state), judge(plain[1]), strict=True)]
    # Adam without momentum moves a weight by its rate, also where the gradient is rounding errors.
    assert np.mean(np.abs(np.concatenate(moved)) > 1e-5) < 0.01
    for a, b in zip(state.network.get_weights(), plain[1].network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_first_step_is_that_of_the_losses_at_the_start(plain, batch):
    state = TrainingState(FEATURE, QUICK)
    state.standardization = Standardization.measure(FEATURE, [FEATURE(batch)])
    seen = state.standardization(FEATURE(batch))
    made = np.asarray(state.network(seen))
    (learner,) = state.loss.learners
    squared = np.square(made - batch).mean((1, 2, 3))
    ahead = verdict(learner, batch, seen) - verdict(learner, made, seen)
    expected = (10 * squared + 0.1 * softplus(ahead).mean((1, 2, 3))).mean()
    assert plain[0][0] == pytest.approx(expected, rel=1e-4)


def test_a_discriminator_learns_to_tell_and_a_poisoned_batch_does_not_reach_it(taken, batch):
    bad = np.where(np.arange(8)[:, None, None, None] == 3, np.nan, batch).astype(np.float32)
    good = [batch.numpy()] * 20
    _, state = taken(
        batches=[*good, bad, *good], loss="squared,adversarial:1e-3", learning_rate=1e-2
    )
    (critic,) = state.loss.learners
    seen = state.standardization(FEATURE(batch))
    # It would be log 2 if the critic told nothing apart, and is more where it is right.
    assert float(tf.reduce_mean(critic(batch, state.network(seen), seen))) > 1.05 * math.log(2)
    notes = state.notes()
    assert state.is_finite()
    assert notes["discriminator_held_back"] >= 1
    assert math.isfinite(notes["discriminator_loss"])
    weights = judge(state)
    weights[0][:] = np.nan
    critic.model.set_weights(weights)
    assert not state.is_finite()


def held(workdir, step):
    """Everything that a checkpoint holds."""
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"step-{step}"))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names}


RUN = dataclasses.replace(SETTINGS, loss=LOSS)


def test_an_interrupted_run_ends_as_an_unbroken_one_to_the_last_part(
    train, train_in, tmp_path, monkeypatch
):
    whole = Unbroken(train_in, tmp_path / "whole", settings=RUN)
    assert all(entry["discriminator_loss"] > 0 for entry in whole.entries)
    with monkeypatch.context() as patch:
        interrupt_after(patch, train_inverter, 5)
        with pytest.raises(Interrupted):
            train(RUN)
    again, history = train(RUN)
    whole.assert_equal(again, history)
    assert [entry["discriminator_loss"] for entry in history] == pytest.approx(
        [entry["discriminator_loss"] for entry in whole.entries], rel=1e-4
    )
    one, other = (held(tmp_path / name, RUN.steps) for name in ("whole", "run"))
    assert one.keys() == other.keys()
    assert sum(name.startswith("discriminator") for name in one) > 40
    for name in one.keys() - {"save_counter/.ATTRIBUTES/VARIABLE_VALUE"}:
        np.testing.assert_allclose(other[name], one[name], atol=1e-6, err_msg=name)


def test_a_run_without_a_discriminator_is_not_continued_with_one(train, unbroken, tmp_path):
    run = shutil.copytree(unbroken.workdir, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="step-6 holds no discriminator, no .* left as it is") as e:
        train(RUN)
    assert "\n" not in str(e.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_terms_that_learn_are_named_and_the_others_are_not():
    assert losses.make_loss("squared:10,perceptual", (64, 64)).learners == []
    (learner,) = losses.make_loss(LOSS, (64, 64)).learners
    assert isinstance(learner, AdversarialLoss)
    with pytest.raises(InputError, match="only perceptual takes layers"):
        losses.make_loss("adversarial=alexnet/conv1", (64, 64))
