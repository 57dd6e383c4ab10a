"""One training step: micro-batches, precision, XLA, gradient clipping."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import run_steps
from tfinvert import InputError, features
from tfinvert.training import precision, strategies
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings
from tfinvert.training.train_step import check_step_settings

QUICK = {"network": "paper", "optimizer": "adam"}  # the fastest to trace
SETTINGS = Settings(
    steps=100, batch_size=8, width=0.125, learning_rate=2e-3, warmup_steps=0, **QUICK
)
FEATURE = features.get("hog", image_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def batch(photos):
    return tf.image.resize(photos[:8], (32, 32), antialias=True)


@pytest.fixture(scope="module")
def taken(batch):
    """Runs some steps; returns their losses and the state."""

    def run(steps=3, strategy="one", batches=None, **changes):
        settings = dataclasses.replace(SETTINGS, **changes)
        return run_steps(FEATURE, settings, batch, steps, strategy, batches)

    return run


@pytest.fixture(scope="module")
def plain(taken):
    return taken()


@pytest.mark.parametrize(
    ("micro_batches", "strategy"), [(8, "one"), pytest.param(4, "mirrored", marks=pytest.mark.slow)]
)
def test_micro_batches_give_the_step_of_the_whole_batch(taken, plain, micro_batches, strategy):
    losses, state = taken(strategy=strategy, accumulation_steps=micro_batches, ema_decay=0.0)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-4)
    for one, other in zip(state.network.get_weights(), plain[1].network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert plain[1].log_values() == state.log_values() == {}  # ordinary gradients are not spikes
    for average, last in zip(
        state.ema_network.get_weights(), state.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(average, last)  # without averaging
    pairs = zip(plain[1].ema_network.get_weights(), plain[1].network.get_weights(), strict=True)
    assert any(np.abs(average - last).max() > 1e-5 for average, last in pairs)


def test_micro_batches_must_divide_a_devices_share():
    devices = strategies.make_strategy("mirrored")
    check_step_settings(dataclasses.replace(SETTINGS, accumulation_steps=4), devices)
    with pytest.raises(InputError, match=r"8 images over 2 device\(s\). Received: 8"):
        check_step_settings(dataclasses.replace(SETTINGS, accumulation_steps=8), devices)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_follows_float32_with_float32_weights(taken, plain, kind):
    losses, state = taken(precision=kind)
    np.testing.assert_allclose(losses, plain[0], rtol=0.03)
    assert losses != plain[0]
    assert {weight.dtype for weight in state.network.weights} == {"float32"}
    dtypes = {layer.name: layer.compute_dtype for layer in state.network.layers}
    assert dtypes.pop("image") == "float32"
    assert kind in {*dtypes.values()}
    assert {layer.compute_dtype for layer in state.ema_network.layers} == {"float32"}
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.slow
def test_xla_makes_the_same_step(taken, plain):
    losses, _ = taken(jit="on")
    np.testing.assert_allclose(losses, plain[0], rtol=1e-3)


def test_xla_supports_one_device(taken):
    with pytest.raises(InputError, match="--jit=on supports one device; .* Received: 2 devices"):
        taken(jit="on", strategy="mirrored")


def test_float16_requires_a_gpu():
    precision.check_precision("float32")
    precision.check_precision("bfloat16")
    with pytest.raises(InputError, match="--precision=float16 requires a GPU; .* no GPU"):
        precision.check_precision("float16")


@pytest.mark.parametrize(
    ("capability", "message"),
    [((7, 5), "bfloat16 requires a GPU of .* 8.0 .* T4 of compute capability 7.5"), ((9, 0), None)],
)
def test_bfloat16_requires_a_gpu_that_supports_it(monkeypatch, capability, message):
    details = {"compute_capability": capability, "device_name": "T4"}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    precision.check_precision("float16")
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        precision.check_precision("bfloat16")


@pytest.mark.parametrize(
    ("info", "lines"), [("flags : fpu avx512_bf16\n", 0), ("flags : fpu\n", 1), (None, 0)]
)
def test_a_cpu_without_bfloat16_is_reported(monkeypatch, tmp_path, capsys, info, lines):
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    if info:
        (tmp_path / "cpuinfo").write_text(info)
    precision.check_precision("bfloat16")
    assert len(capsys.readouterr().out.splitlines()) == lines


def norms(clipper, values):
    """Returns norms after clipping."""

    @tf.function
    def clip(norm):
        factor = clipper.factor(norm)
        clipper.update(norm)
        return tf.math.multiply_no_nan(norm, factor)

    return [float(clip(tf.constant(value, tf.float32))) for value in values]


def test_clipping_bounds_norms_and_spikes_and_follows_a_lasting_increase():
    clipper = GradientClipper(clip_norm=10.0, spike_threshold=5.0)
    assert norms(clipper, [2.0, 30.0, 1.0]) == pytest.approx([2.0, 10.0, 1.0], rel=0.01)
    kept = norms(clipper, [300.0] * 400)
    assert kept[0] == pytest.approx(10.0)
    assert norms(GradientClipper(spike_threshold=5.0), [1.0, 300.0])[1] == pytest.approx(5.0)
    assert norms(GradientClipper(spike_threshold=5.0), [1.0] + [300.0] * 100)[-1] == pytest.approx(
        300.0
    )


def test_gradients_that_are_not_finite_are_discarded_and_halve_the_loss_scale():
    clipper = GradientClipper(loss_scaling=True)
    first = float(clipper.scale)
    norms(clipper, [1.0, np.inf, np.nan])
    assert float(clipper.scale) == first / 4
    assert clipper.log_values() == {"held_back": 2}
    norms(clipper, [1.0] * 2000)
    assert float(clipper.scale) == first / 2
    assert GradientClipper().log_values() == {}


@pytest.fixture(scope="module")
def poisoned_batches(batch):
    def poisoned(bad):
        return np.where(np.arange(8)[:, None, None, None] == 3, bad, batch).astype(np.float32)

    good = batch.numpy()
    return [good] * 5 + [poisoned(np.nan)] + [good] * 3 + [poisoned(1e12)] + [good] * 6


@pytest.fixture(scope="module")
def clipped(taken, poisoned_batches):
    return taken(batches=poisoned_batches, clip_norm=float("inf"))


def test_poisoned_batches_do_not_derail_training(clipped):
    losses, state = clipped
    assert state.is_finite()
    assert state.log_values()["held_back"] >= 2
    assert max(losses[6:9] + losses[10:]) < losses[0]


@pytest.mark.slow
def test_without_the_threshold_a_poisoned_batch_derails_training(taken, clipped, poisoned_batches):
    wild, _ = taken(
        batches=poisoned_batches[6:], clip_norm=float("inf"), spike_threshold=float("inf")
    )
    assert max(wild[4:]) > max(clipped[0][10:])


@pytest.mark.slow
def test_ordinary_training_is_not_clipped(taken, plain):
    losses, state = taken(spike_threshold=float("inf"))
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    assert plain[1].log_values() == state.log_values() == {}
