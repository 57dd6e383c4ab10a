"""One step: micro-batches, precision, what guards the weights."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import take
from tfinvert import InputError, features
from tfinvert.training import precision, strategies
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings
from tfinvert.training.train_step import check_step_settings

QUICK = {"network": "paper", "optimizer": "adam"}  # to trace, which is most of the time here
SETTINGS = Settings(
    steps=100, batch_size=8, width=0.125, learning_rate=2e-3, warmup_steps=0, **QUICK
)
FEATURE = features.get("hog", image_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def batch(photos):
    return tf.image.resize(photos[:8], (32, 32), antialias=True)


@pytest.fixture(scope="module")
def taken(batch):
    """The losses of some steps, and the state after them."""

    def run(steps=3, strategy="one", batches=None, **changes):
        settings = dataclasses.replace(SETTINGS, **changes)
        return take(FEATURE, settings, batch, steps, strategy, batches)

    return run


@pytest.fixture(scope="module")
def plain(taken):
    return taken()


@pytest.mark.parametrize(("parts", "strategy"), [(8, "one"), (4, "mirrored")])
def test_micro_batches_make_the_step_of_the_whole_batch(taken, plain, parts, strategy):
    losses, state = taken(strategy=strategy, accumulate=parts)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-4)
    for one, other in zip(state.network.get_weights(), plain[1].network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_micro_batches_must_divide_a_devices_part():
    check_step_settings(
        dataclasses.replace(SETTINGS, accumulate=4), strategies.make_strategy("mirrored")
    )
    with pytest.raises(InputError, match=r"8 over 2 device\(s\). Received: 8"):
        check_step_settings(
            dataclasses.replace(SETTINGS, accumulate=8), strategies.make_strategy("mirrored")
        )
    with pytest.raises(InputError, match="accumulate must be positive. Received: 0"):
        Settings(steps=1, accumulate=0)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_follows_float32_with_float32_weights(taken, plain, kind):
    losses, state = taken(precision=kind)
    np.testing.assert_allclose(losses, plain[0], rtol=0.03)
    assert losses != plain[0]
    assert {weight.dtype for weight in state.network.weights} == {"float32"}
    dtypes = {layer.name: layer.compute_dtype for layer in state.network.layers}
    assert dtypes.pop("image") == "float32"
    assert kind in {*dtypes.values()}
    assert {layer.compute_dtype for layer in state.averaged.layers} == {"float32"}
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_xla_makes_the_same_step(taken, plain):
    losses, _ = taken(jit="on")
    np.testing.assert_allclose(losses, plain[0], rtol=1e-3)
    with pytest.raises(InputError, match="jit=on takes one device"):
        taken(jit="on", strategy="mirrored")


def test_float16_asks_for_a_gpu():
    precision.check_precision("float32")
    precision.check_precision("bfloat16")
    with pytest.raises(InputError, match="float16 takes a GPU, and there is none"):
        precision.check_precision("float16")


@pytest.mark.parametrize(
    ("capability", "said"), [((7, 5), "bfloat16 takes a GPU of .* 8.0; T4 has 7.5"), ((9, 0), None)]
)
def test_bfloat16_asks_for_a_gpu_that_has_it(monkeypatch, capability, said):
    details = {"compute_capability": capability, "device_name": "T4"}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    precision.check_precision("float16")
    with pytest.raises(InputError, match=said) if said else contextlib.nullcontext():
        precision.check_precision("bfloat16")


@pytest.mark.parametrize(("has_it", "lines"), [(True, 0), (False, 1)])
def test_a_cpu_without_bfloat16_is_told_of(monkeypatch, capsys, has_it, lines):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: has_it)
    precision.check_precision("bfloat16")
    assert len(capsys.readouterr().out.splitlines()) == lines


@pytest.mark.parametrize("name", ["loss", "optimizer", "network", "precision", "jit"])
def test_parts_that_do_not_exist_are_refused_with_those_that_do(name):
    with pytest.raises(InputError, match=f"{name} must be one of .*. Received: 'best'"):
        Settings(steps=1, **{name: "best"})


def norms(guard, values):
    """What each of some norms becomes."""

    @tf.function
    def becomes(norm):
        factor = guard.factor(norm)
        guard.update(norm)
        return tf.math.multiply_no_nan(norm, factor)

    return [float(becomes(tf.constant(value, tf.float32))) for value in values]


def test_a_guard_bounds_norms_and_spikes_and_follows_what_stays():
    guard = GradientClipper(clip_norm=10.0, spike=5.0)
    assert norms(guard, [2.0, 30.0, 1.0]) == pytest.approx([2.0, 10.0, 1.0], rel=0.01)
    kept = norms(guard, [300.0] * 400)
    assert kept[0] == pytest.approx(10.0)
    assert norms(GradientClipper(spike=5.0), [1.0, 300.0])[1] == pytest.approx(5.0)
    assert norms(GradientClipper(spike=5.0), [1.0] + [300.0] * 100)[-1] == pytest.approx(300.0)


def test_a_guard_leaves_out_what_is_not_finite_and_scales_the_loss():
    guard = GradientClipper(scaled=True)
    first = float(guard.scale)
    norms(guard, [1.0, np.inf, np.nan])
    assert float(guard.scale) == first / 4
    assert guard.notes() == {"held_back": 2}
    norms(guard, [1.0] * 2000)
    assert float(guard.scale) == first / 2
    assert GradientClipper().notes() == {}


def test_poisoned_batches_do_not_throw_training_off(taken, batch):
    def poisoned(bad):
        return np.where(np.arange(8)[:, None, None, None] == 3, bad, batch).astype(np.float32)

    good = batch.numpy()
    batches = [good] * 5 + [poisoned(np.nan)] + [good] * 3 + [poisoned(1e12)] + [good] * 6
    losses, state = taken(batches=batches, clip_norm=float("inf"))
    assert state.is_finite()
    assert state.notes()["held_back"] >= 2
    assert max(losses[6:9] + losses[10:]) < losses[0]
    # What it would do:
    wild, _ = taken(batches=batches[6:], clip_norm=float("inf"), spike=float("inf"))
    assert max(wild[4:]) > max(losses[10:])


def test_ordinary_training_is_as_without_a_guard(taken, plain):
    losses, state = taken(spike=float("inf"))
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    assert plain[1].notes() == state.notes() == {}
