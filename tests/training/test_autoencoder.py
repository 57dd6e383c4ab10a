"""Autoencoders: the model that gives the feature is trained too, and saved with the inverter."""

import dataclasses
import json

import numpy as np
import pytest

import tfinvert
from tests.training.runs import (
    Interrupted,
    fewer_statistics_images,
    interrupting,
    losses,
    wrapped_steps,
)
from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.inverter.serialization import ARRAYS_FILE, CARD_FILE
from tfinvert.networks import inversion, weights
from tfinvert.training import strategies, train_inverter
from tfinvert.training.datasets import TrainingDataset, open_training_dataset
from tfinvert.training.settings import Intervals, Settings
from tfinvert.training.warm_start import check_same_feature

SETTINGS = Settings(
    steps=6,
    batch_size=8,
    width=0.03,
    warmup_steps=2,
    learning_rate=2e-3,
    ema_decay=0.9,
    train_encoder=True,
    network="paper",  # this and Adam are the fastest to trace
    optimizer="adam",
)
EVERY_STEP = Intervals(log=1, validate=1, checkpoint=2)


@pytest.fixture(scope="module")
def conv2(small_layer):
    return small_layer("conv2")


@pytest.fixture(scope="module")
def train(source, conv2, small_photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    @fewer_statistics_images()
    def run(settings=SETTINGS, *, feature=conv2, name="run", strategy="one", wrap_step=None):
        workdir = folder / name
        workdir.mkdir(exist_ok=True)
        dataset = TrainingDataset(feature, source, settings)
        devices = strategies.make_strategy(strategy)
        with wrapped_steps(train_inverter, wrap_step or (lambda step, _: step)):
            return train_inverter.train_inverter(
                feature, dataset, small_photos, settings, workdir, devices, EVERY_STEP
            )[:2]

    return run


@dataclasses.dataclass(frozen=True)
class Run:
    inverter: Inverter
    losses: list[float]
    errors: list[float]  # of validation, after each step
    encoders: list[list[np.ndarray]]  # weights after each step


def encoder(inverter):
    return inverter.feature.model.get_weights()


@pytest.fixture(scope="module")
def train_recording(train):
    """Trains and records the encoder after every step."""

    def run(settings=SETTINGS, **options):
        encoders = []

        def record(step, state):
            def recording(*batch):
                loss = step(*batch)
                encoders.append(state.feature.model.get_weights())
                return loss

            return recording

        inverter, history = train(settings, wrap_step=record, **options)
        errors = [entry["validation_error"] for entry in history]
        return Run(inverter, losses(history), errors, encoders)

    return run


@pytest.fixture(scope="module")
def before(conv2):
    return conv2.model.get_weights()


@pytest.fixture(scope="module")
def whole(before, train_recording):
    """An uninterrupted run."""
    return train_recording(name="whole")


def test_a_copy_of_the_feature_is_trained(whole, before, conv2, small_photos):
    for given, now in zip(before, conv2.model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, now)
    for given, first, last in zip(before, *whole.encoders[::5], strict=True):
        assert (first != last).any() and (given != last).any()
    assert whole.inverter.feature is not conv2
    assert whole.inverter.feature.name == conv2.name
    assert np.abs(whole.inverter.encode(small_photos) - conv2(small_photos)).max() > 1e-3
    assert whole.errors[-1] < whole.errors[0]


def test_its_network_is_no_start_for_the_original_layer(whole, conv2):
    check_same_feature(whole.inverter, whole.inverter.feature)
    with pytest.raises(tfinvert.InputError, match="with the same weights, .* of other weights"):
        check_same_feature(whole.inverter, conv2)


def test_the_moving_average_of_the_encoder_is_kept(whole, before):
    average = before
    for step, weights_then in enumerate(whole.encoders, 1):
        decay = min(SETTINGS.ema_decay, (1 + step) / (10 + step))
        pairs = zip(average, weights_then, strict=True)
        average = [decay * kept + (1 - decay) * now for kept, now in pairs]
    for kept, expected, last in zip(
        encoder(whole.inverter), average, whole.encoders[-1], strict=True
    ):
        np.testing.assert_allclose(kept, expected, atol=1e-6)
        assert np.abs(kept - last).max() > 1e-5


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_unbroken_one(whole, train):
    with pytest.raises(Interrupted):
        train(name="broken", wrap_step=interrupting(5))
    resumed, history = train(name="broken")  # from the checkpoint of step 4
    np.testing.assert_allclose(losses(history), whole.losses, rtol=1e-5)
    for a, b in zip(encoder(whole.inverter), encoder(resumed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    again, _ = train(name="broken")  # which trains no further
    for a, b in zip(encoder(resumed), encoder(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_same_encoder_on_two_devices_as_on_one_and_the_last_without_averaging(
    train, train_recording
):
    # A small clip_norm, so that the test would see a norm without the encoder's part.
    settings = dataclasses.replace(SETTINGS, steps=3, clip_norm=0.01, ema_decay=0.0)
    one = train_recording(settings, name="one")
    two, history = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(history), one.losses, atol=1e-5)
    pairs = zip(encoder(one.inverter), encoder(two), one.encoders[-1], strict=True)
    for first, second, last in pairs:
        np.testing.assert_allclose(first, second, atol=1e-4)
        np.testing.assert_array_equal(first, last)


def test_a_saved_autoencoder_needs_nothing_but_itself(
    whole, small_photos, tmp_path, small_alexnet, monkeypatch
):
    expected = whole.inverter
    expected.save(tmp_path / "saved")
    monkeypatch.setattr(weights, "find", None)  # no file of weights is looked for
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(small_photos), expected.encode(small_photos))
    np.testing.assert_array_equal(
        loaded.reconstruct(small_photos), expected.reconstruct(small_photos)
    )
    assert loaded.feature.get_config() == expected.feature.get_config()
    loaded.save(tmp_path / "again")
    again = tfinvert.load(tmp_path / "again")
    np.testing.assert_array_equal(again.reconstruct(small_photos), loaded.reconstruct(small_photos))


def untrained(feature):
    shape = feature.spec.shape[-1:] if feature.standardize == "channel" else ()
    identity = Standardization(np.zeros(shape, "f4"), np.ones(shape, "f4"))
    return Inverter(feature, identity, inversion.build(feature, width=0.02))


@pytest.mark.parametrize("layer", ["conv1", "fc7"])
def test_a_layer_of_a_file_is_saved_with_its_model(small_alexnet, small_photos, tmp_path, layer):
    path = tmp_path / "moved.safetensors"
    path.write_bytes(small_alexnet.read_bytes())
    feature = features.get(f"alexnet/{layer}:weights={path}", image_shape=(32, 32, 3))
    inverter = untrained(feature)
    inverter.save(tmp_path / "saved", "float16")
    path.unlink()
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(small_photos), feature(small_photos))
    assert (loaded.feature.name, loaded.feature.spec) == (feature.name, feature.spec)
    assert loaded.feature.standardize == feature.standardize
    assert not loaded.feature.portable
    with pytest.raises(tfinvert.InputError, match="no such AlexNet weights"):
        features.from_description(features.describe(loaded.feature))


def test_layers_that_the_package_brings_are_saved_without_their_model(
    small_alexnet, small_photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(weights, "find", lambda name: {"compact": small_alexnet}[name])
    feature = features.get("alexnet/conv1", image_shape=(32, 32, 3))
    assert feature.portable
    inverter = untrained(feature)
    inverter.save(tmp_path / "saved")
    assert "encoder" not in json.loads((tmp_path / "saved" / CARD_FILE).read_text())
    with np.load(tmp_path / "saved" / ARRAYS_FILE) as arrays:
        assert not [name for name in arrays if name.startswith("encoder")]
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(small_photos), feature(small_photos))
    # Trained, they are no longer what the package brings.
    assert not feature.trainable_copy().portable


def test_a_copy_to_train_has_weights_of_its_own(conv2, small_photos):
    copy = conv2.trainable_copy()
    np.testing.assert_array_equal(copy(small_photos), conv2(small_photos))
    assert copy.get_config() == conv2.get_config()
    copy.model.set_weights([weight * 2 for weight in copy.model.get_weights()])
    assert np.abs(copy(small_photos) - conv2(small_photos)).max() > 0.1


def test_representations_without_weights_are_refused(train, small_alexnet):
    with pytest.raises(tfinvert.InputError, match="hog has no weights to train; an auto") as error:
        train(feature=features.get("hog"), name="hog")
    assert "\n" not in str(error.value)
    padded = features.get(f"alexnet/conv1_pad:weights={small_alexnet}")
    with pytest.raises(tfinvert.InputError, match="alexnet/conv1_pad has no weights to train"):
        padded.trainable_copy()


def test_features_that_change_are_not_cached(conv2, source, tmp_path):
    settings = dataclasses.replace(SETTINGS, cached_views=1)
    with pytest.raises(
        tfinvert.InputError,
        match="--cache cannot be combined with --train_encoder, as the features",
    ):
        open_training_dataset(conv2, source, settings, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
