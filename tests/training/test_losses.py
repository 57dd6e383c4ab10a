"""Losses: each against a loop, their weighted sum, their gradients, and invalid losses."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.runs import SETTINGS
from tfinvert import InputError, features, metrics
from tfinvert.config.loss_spec import LossTerm, parse_loss
from tfinvert.features.standardization import Standardization
from tfinvert.metrics.lpips import lpips
from tfinvert.training import losses, strategies
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.train_step import make_train_step

SIZE = (34, 40)


@pytest.fixture(scope="module")
def pair(photos):
    """Images, and reconstructions that leave [0, 1], both `[3, 34, 40, 3]`."""
    images = photos[:3, :34, :40].copy()
    noise = np.random.default_rng(0).normal(0, 0.2, images.shape)
    return images, (images + noise).astype(np.float32)


@pytest.fixture(scope="module")
def perceptual():
    """LPIPS for the images of `pair`."""
    return losses.make_loss("perceptual", SIZE)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A user's model of 20×20 pixels: path and model."""
    keras.utils.set_random_seed(0)
    convolutions = [
        keras.layers.Conv2D(channels, 3, 2, activation="relu", name=name)
        for name, channels in (("first", 4), ("second", 6))
    ]
    model = keras.Sequential([keras.Input((20, 20, 3)), *convolutions])
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model.save(path)
    return path, model


def test_mse_and_mae_are_means_over_pixels(pair):
    flat = [x.reshape(3, -1).astype(np.float64) for x in pair]
    expected = {"mse": [], "mae": []}
    for image, other in zip(*flat, strict=True):
        expected["mse"].append(sum((a - b) ** 2 for a, b in zip(image, other, strict=True)))
        expected["mae"].append(sum(abs(a - b) for a, b in zip(image, other, strict=True)))
    for name, sums in expected.items():
        np.testing.assert_allclose(
            losses.make_loss(name, SIZE)(*pair), np.divide(sums, len(flat[0][0])), rtol=1e-5
        )


def test_the_ssim_loss_is_1_minus_ssim_of_a_loop_over_windows(pair):
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line)[..., np.newaxis] / line.sum() ** 2
    image, other = (x[0].astype(np.float64) for x in pair)
    values = []
    for i, j in itertools.product(range(SIZE[0] - 10), range(SIZE[1] - 10)):
        a, b = (x[i : i + 11, j : j + 11] for x in (image, other))

        def mean(x):
            return (window * x).sum((0, 1))

        va, vb = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
        both = mean(a * b) - mean(a) * mean(b)
        values.append(
            (2 * mean(a) * mean(b) + 1e-4)
            * (2 * both + 9e-4)
            / ((mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (va + vb + 9e-4))
        )
    found = losses.make_loss("ssim", SIZE)(*pair).numpy()
    assert found[0] == pytest.approx(1 - np.mean(values), abs=1e-4)
    assert np.mean(found) == pytest.approx(1 - metrics.ssim(*pair), abs=1e-5)


def loop_over_layers(pair, layers):
    """Sums over layers the mean over cells of the squared distance of unit vectors."""
    total = np.zeros(len(pair[0]))
    for layer in layers:
        for i, (a, b) in enumerate(zip(*(layer(x) for x in pair), strict=True)):
            rows = zip(*(x.reshape(-1, x.shape[-1]) for x in (a, b)), strict=True)
            units = [[x / max(np.linalg.norm(x), 1e-10) for x in row] for row in rows]
            total[i] += np.mean([np.square(x - y).sum() for x, y in units])
    return total


def test_perceptual_compares_layers_of_a_users_model(pair, own):
    path, model = own

    def layer(depth):
        def values(images):
            seen = tf.image.resize(images, (20, 20), antialias=True)
            for each in model.layers[:depth]:
                seen = each(seen)
            return seen.numpy()

        return values

    for text, depths in (("second", [2]), ("first+second", [1, 2])):
        found = losses.make_loss(f"perceptual={path}/{text}", SIZE)(*pair)
        expected = loop_over_layers(pair, [layer(depth) for depth in depths])
        np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["squeezenet/fire3", "alexnet/conv3"])
def test_perceptual_compares_layers_of_shipped_networks_at_the_images_own_size(photos, name):
    images = photos[:2], photos[2:4]
    feature = features.get(name, image_shape=(64, 64, 3), input_size=64)
    found = losses.make_loss(f"perceptual={name}", (64, 64))(*images)
    expected = loop_over_layers(images, [lambda x: feature(x).numpy()])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_perceptual_without_layers_is_lpips(pair, perceptual):
    images, others = pair
    found = perceptual(images, others)
    assert np.mean(found) == pytest.approx(lpips(images, others), rel=1e-4)


def test_losses_are_summed_by_weight_and_have_finite_gradients(pair, own, perceptual):
    parts = ["mse", "mae", "ssim", "perceptual", f"perceptual={own[0]}/first"]
    images, others = pair[0], tf.constant(pair[1])
    total, gradient = np.zeros(3), np.zeros(others.shape)
    for weight, text in enumerate(parts, 1):
        loss = perceptual if text == "perceptual" else losses.make_loss(text, SIZE)
        with tf.GradientTape() as tape:
            tape.watch(others)
            value = loss(images, others)
        own_gradient = tape.gradient(value, others)
        assert np.isfinite(own_gradient).all() and np.abs(own_gradient).max() > 0
        total += weight * value.numpy()
        gradient += weight * own_gradient.numpy()
    loss = losses.make_loss(",".join(f"{text}:{i}" for i, text in enumerate(parts, 1)), SIZE)
    with tf.GradientTape() as tape:
        tape.watch(others)
        value = loss(images, others)
    np.testing.assert_allclose(value, total, rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(value, others), gradient, atol=1e-4)


def test_black_images_have_finite_gradients(perceptual):
    black = tf.zeros((1, 34, 40, 3))
    for text in losses.LOSSES:
        loss = perceptual if text == "perceptual" else losses.make_loss(text, SIZE)
        if loss.trainable_losses:
            continue  # these also depend on a feature, see test_adversarial.py
        with tf.GradientTape() as tape:
            tape.watch(black)
            value = loss(np.zeros(black.shape, np.float32), black)
        assert np.isfinite(tape.gradient(value, black)).all(), text


@pytest.mark.slow
def test_steps_with_a_perceptual_loss_lower_lpips(photos):
    feature = features.get("hog", image_shape=(64, 64, 3))
    devices = strategies.make_strategy("one")
    settings = dataclasses.replace(SETTINGS, loss="mse:1,perceptual:1", steps=100, warmup_steps=0)
    with devices.scope():
        state = TrainingState(feature, settings)
        state.standardization = Standardization.measure(feature, [feature(photos[:8])])
    images = photos[:8]

    def measured():
        seen = state.standardization(feature(images))
        return lpips(images, np.clip(state.network(seen), 0, 1))

    before = measured()
    step = make_train_step(state, settings, devices)
    values = [float(step(tf.constant(images))) for _ in range(12)]
    assert values[-1] < values[0]
    assert measured() < 0.95 * before


def test_terms():
    assert parse_loss("mse") == [LossTerm("mse", "", 1.0)]
    assert parse_loss("mse:10,perceptual=squeezenet/fire3+fire9:0.5,perceptual") == [
        LossTerm("mse", "", 10.0),
        LossTerm("perceptual", "squeezenet/fire3+fire9", 0.5),
        LossTerm("perceptual", "", 1.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", "loss must be one of mse, .* Received: 'best'"),
        ("", "loss must be one of"),
        ("mse,", "loss must be one of"),
        ("mse:much", "finite weight above 0. Received: 'mse:much'"),
        ("mse:0", "finite weight above 0"),
        ("mse:-1", "finite weight above 0"),
        ("mse:inf", "finite weight above 0"),
        ("mse:nan", "finite weight above 0"),
        ("mse,ssim,mse:2", "--loss repeats a name; give it the sum"),
        ("ssim=alexnet/conv1", "only the loss perceptual takes layers"),
        ("perceptual=", "only the loss perceptual takes layers"),
    ],
)
def test_an_invalid_loss_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        Settings(steps=1, loss=text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        ("ssim", (32, 10), "at least 11×11 pixels. Received: 32×10"),
        ("perceptual", (30, 64), "at least 31×31 pixels. Received: 30×64"),
        ("perceptual=squeezenet/fire3", (16, 64), "at least 17×17 pixels. Received: 16×64"),
        ("perceptual=squeezenet/fire99", SIZE, "no layer 'fire99'; choose one of .*fire9"),
        ("perceptual=squeezenet/", SIZE, "no layer ''; choose one of"),
        ("perceptual=alexnet/conv1+fc6", SIZE, "no layer 'fc6'; choose one of .*relu5$"),
        ("perceptual=alexnet/conv5", (48, 64), "conv5 requires .* 63×63 pixels. Received: 48×64"),
        (
            "perceptual=vgg/conv1",
            SIZE,
            "--loss=perceptual=… takes alexnet/LAYER.* Received: vgg/conv1",
        ),
        ("perceptual=alexnet", SIZE, "--loss=perceptual=… takes alexnet/LAYER.* Received: alexnet"),
        ("perceptual=none.keras/conv1", SIZE, "FILE.keras/LAYER.* Received: none.keras"),
        ("perceptual={own}/third", SIZE, "no layer 'third'; choose one of first, second"),
    ],
)
def test_incomparable_images_and_layers_are_refused_in_one_line(own, text, size, message):
    with pytest.raises(InputError, match=message) as caught:
        losses.make_loss(text.format(own=own[0]), size)
    assert "\n" not in str(caught.value)
