"""The uncertainty head: likelihood, joint and frozen training, and calibration."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfinvert
from tests.training.runs import EVERY_STEP, SETTINGS, losses
from tfinvert.networks import inversion, uncertainty
from tfinvert.training.uncertainty import fit_std_scale, gaussian_nll

JOINT = dataclasses.replace(SETTINGS, uncertainty="joint")


def test_the_loss_is_the_likelihood_of_a_gaussian_along_the_color_axes():
    rng = np.random.default_rng(0)
    images, reconstructions = rng.random((2, 2, 3, 4, 3), np.float32)
    log_variance = rng.normal(-3, 1, images.shape).astype(np.float32)
    along = (images - reconstructions) @ uncertainty.COLOR_AXES.T
    density = stats.norm.logpdf(along, scale=np.exp(log_variance / 2))
    expected = -(density + np.log(2 * np.pi) / 2).mean((1, 2, 3)) - uncertainty.MIN_LOG_VARIANCE / 2
    found = gaussian_nll(images, reconstructions, log_variance)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_has_no_gradient_in_the_image_and_is_minimal_at_the_squared_residual():
    images = tf.zeros((1, 4, 4, 3))
    reconstructions = tf.random.stateless_normal((1, 4, 4, 3), (0, 1)) * 0.1
    square = tf.square(tf.linalg.matmul(reconstructions, uncertainty.COLOR_AXES, transpose_b=True))
    truth = tf.math.log(square)
    with tf.GradientTape() as tape:
        tape.watch([reconstructions, truth])
        loss = gaussian_nll(images, reconstructions, truth)
    of_image, of_truth = tape.gradient(loss, [reconstructions, truth])
    assert of_image is None
    np.testing.assert_allclose(of_truth, 0, atol=1e-6)


@pytest.fixture(scope="module")
def whole(train_in, tmp_path_factory):
    """The directory of a joint run, its inverter and its history."""
    workdir = tmp_path_factory.mktemp("spread") / "run"
    return workdir, *train_in(workdir, JOINT)


@pytest.mark.slow
def test_joint_training_does_not_change_the_image(unbroken_hog, whole):
    without = unbroken_hog.inverter
    _, joint, history = whole
    for a, b in zip(without.network.get_weights(), joint.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert without.uncertainty_head is None
    assert all(entry["loss"] > 0 for entry in history)
    head, calibration = joint.uncertainty_head
    assert np.std(head.get_layer("spread").get_weights()[0]) > 0
    assert calibration.shape == (3,) and (calibration > 0).all()


@pytest.mark.slow
def test_two_devices_learn_what_one_does(train, whole):
    _, one, first = whole
    two, second = train(JOINT, strategy="mirrored")
    np.testing.assert_allclose(losses(second), losses(first), rtol=1e-4)
    for a, b in zip(
        one.uncertainty_head.head.get_weights(),
        two.uncertainty_head.head.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_unbroken_one(train, whole, tmp_path):
    workdir, inverter, _ = whole
    broken = shutil.copytree(workdir, tmp_path / "run")
    for path in (broken / "checkpoints").glob("step-6*"):
        path.unlink()
    head, again = inverter.uncertainty_head, train(JOINT)[0].uncertainty_head
    for a, b in zip(head.head.get_weights(), again.head.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(head.calibration, again.calibration, rtol=1e-4)


@pytest.mark.slow
def test_frozen_training_keeps_the_image_and_predicts_its_errors(
    train_hog, small_inverter, small_photos, tmp_path
):
    keras.utils.set_random_seed(1)  # not the seed of the run
    given = uncertainty.build_head(small_inverter.network)
    initial = tfinvert.Inverter(
        small_inverter.feature,
        small_inverter.standardization,
        small_inverter.network,
        uncertainty_head=uncertainty.UncertaintyHead(given, np.ones(3, np.float32)),
    )
    settings = dataclasses.replace(
        SETTINGS,
        uncertainty="frozen",
        steps=120,
        optimizer="muon",
        ema_decay=0.5,
        learning_rate=1e-2,
        color_jitter=0.0,
        min_crop=1.0,
    )
    heads = []

    def record(step, state):
        heads.extend(head.get_weights() for head in (state.head, state.ema_head))
        return step

    intervals = dataclasses.replace(EVERY_STEP, log=5, validate=1000, checkpoint=1000)
    run = train_hog(tmp_path / "run", intervals, record, settings=settings, init_from=initial)
    assert len(heads) == 2
    for weights in heads:  # training starts from the head of the initial inverter
        for a, b in zip(weights, given.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    found, history = run.inverter, run.history
    for a, b in zip(small_inverter.network.get_weights(), found.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    along = found.uncertainty(found.encode(small_photos), along="axes")
    residual = np.abs((found.reconstruct(small_photos) - small_photos) @ uncertainty.COLOR_AXES.T)
    within = (residual <= along).mean((0, 1, 2))
    np.testing.assert_allclose(within, 0.68, atol=0.05)
    assert np.corrcoef(along[..., 0].ravel(), residual[..., 0].ravel())[0, 1] > 0.05


class Noisy:
    """An inverter that reconstructs grey and predicts half the standard deviation of the noise."""

    output_size = (8, 8)
    deviation = np.array([0.1, 0.02, 0.05], np.float32)
    uncertainty_head = uncertainty.UncertaintyHead(None, np.array([2.0, 1.0, 1.0], np.float32))

    def encode(self, images):
        return np.zeros((len(images), 1))

    def invert(self, values):
        return np.full((len(values), 8, 8, 3), 0.5, np.float32)

    def uncertainty(self, values, along):
        assert along == "axes"
        predicted = self.deviation / 2 * self.uncertainty_head.calibration
        return np.broadcast_to(predicted, (len(values), 8, 8, 3))


def test_calibration_finds_the_factor_of_known_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 8, 8, 3)) * Noisy.deviation
    images = (0.5 + noise @ uncertainty.COLOR_AXES).astype(np.float32)
    np.testing.assert_allclose(fit_std_scale(Noisy(), images), 2.0, rtol=0.05)


def test_the_head_of_a_cropped_network_has_the_size_of_its_image():
    sift = tfinvert.features.get("sift", image_shape=(72, 72, 3))
    network = inversion.build(sift, width=0.03, network="paper")
    assert isinstance(network.layers[-1], keras.layers.Cropping2D)
    head = uncertainty.build_head(network)
    features = np.random.default_rng(0).normal(size=(2, *sift.spec.shape))
    image, logarithm = uncertainty.attach_head(network, head)(features)
    assert logarithm.shape == image.shape
    np.testing.assert_allclose(image, network(features), atol=1e-5)


def test_rgb_deviations_are_those_of_the_covariance():
    along = np.array([0.3, 0.02, 0.05], np.float32)
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) * along @ uncertainty.COLOR_AXES
    np.testing.assert_allclose(uncertainty.rgb_std(along), draws.std(0), rtol=0.01)
    np.testing.assert_allclose(
        uncertainty.COLOR_AXES @ uncertainty.COLOR_AXES.T, np.eye(3), atol=1e-6
    )
