"""Autoencoders: the model that gives the feature is trained too, and saved with the inverter."""

import dataclasses
import json

import numpy as np
import pytest

import tfinvert
from tests.training.runs import Interrupted, few_measured, interrupt_after, losses
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.inverter.serialization import ARRAYS, CARD
from tfinvert.networks import alexnet, inversion, weights
from tfinvert.networks.weights import Weights
from tfinvert.training import strategies, train_inverter
from tfinvert.training.datasets import TrainingDataset, open_training_dataset
from tfinvert.training.settings import Settings
from tfinvert.training.train_inverter import Intervals
from tfinvert.training.warm_start import check_same_feature

SETTINGS = Settings(
    steps=6,
    batch_size=8,
    width=0.03,
    warmup_steps=2,
    learning_rate=2e-3,
    averaging=0.9,
    train_encoder=True,
    network="paper",  # this and Adam are quick to trace
    optimizer="adam",
)
EVERY_STEP = Intervals(log=1, validate=1, checkpoint=2)


@pytest.fixture(scope="module")
def source():
    return open_source("photos", "training")


@pytest.fixture(scope="module")
def images(photos):
    return photos[::4, ::2, ::2]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small random AlexNet."""
    model = alexnet.build("torchvision", input_size=63, units=(16, 12, 5))
    layers = {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    weights.save(path, Weights("torchvision", layers, 63))
    return path


@pytest.fixture(scope="module")
def tap(file):
    return features.get(f"alexnet/conv2:weights={file}", image_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def train(source, tap, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    @few_measured()
    def run(settings=SETTINGS, *, feature=tap, name="run", strategy="one"):
        workdir = folder / name
        workdir.mkdir(exist_ok=True)
        examples = TrainingDataset(feature, source, settings)
        chosen = strategies.make_strategy(strategy)
        return train_inverter.train_inverter(
            feature, examples, images, settings, workdir, chosen, EVERY_STEP
        )[:2]

    return run


@dataclasses.dataclass(frozen=True)
class Run:
    inverter: Inverter
    losses: list[float]
    errors: list[float]  # of validation, after each step
    encoders: list[list[np.ndarray]]  # the weights after each step


def encoder(inverter):
    return inverter.feature.model.get_weights()


@pytest.fixture(scope="module")
def watched(train):
    """A run whose encoder is looked at after every step."""
    made = train_inverter.make_train_step

    def run(settings=SETTINGS, **options):
        encoders = []

        def make_step(state, *arguments):
            step = made(state, *arguments)

            def watching(*batch):
                loss = step(*batch)
                encoders.append(state.feature.model.get_weights())
                return loss

            return watching

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_inverter, "make_train_step", make_step)
            inverter, history = train(settings, **options)
        errors = [entry["validation_error"] for entry in history]
        return Run(inverter, losses(history), errors, encoders)

    return run


@pytest.fixture(scope="module")
def before(tap):
    return tap.model.get_weights()


@pytest.fixture(scope="module")
def whole(before, watched):
    """An unbroken run."""
    return watched(name="whole")


def test_the_encoder_is_trained_and_the_feature_given_is_not(whole, before, tap, images):
    for given, now in zip(before, tap.model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, now)
    for given, first, last in zip(before, *whole.encoders[::5], strict=True):
        assert (first != last).any() and (given != last).any()
    assert whole.inverter.feature is not tap
    assert whole.inverter.feature.name == tap.name
    assert np.abs(whole.inverter.encode(images) - tap(images)).max() > 1e-3
    assert whole.errors[-1] < whole.errors[0]


def test_its_network_is_no_start_for_the_layer_as_it_was(whole, tap):
    check_same_feature(whole.inverter, whole.inverter.feature)
    with pytest.raises(tfinvert.InputError, match="as it is. Received: one of other weights"):
        check_same_feature(whole.inverter, tap)


def test_what_is_kept_is_the_moving_average_of_the_encoder(whole, before):
    average = before
    for step, weights_then in enumerate(whole.encoders, 1):
        decay = min(SETTINGS.averaging, (1 + step) / (10 + step))
        pairs = zip(average, weights_then, strict=True)
        average = [decay * kept + (1 - decay) * now for kept, now in pairs]
    for kept, expected, last in zip(
        encoder(whole.inverter), average, whole.encoders[-1], strict=True
    ):
        np.testing.assert_allclose(kept, expected, atol=1e-6)
        assert np.abs(kept - last).max() > 1e-5


def test_an_interrupted_run_ends_as_an_unbroken_one(whole, train, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, train_inverter, 5)
        with pytest.raises(Interrupted):
            train(name="broken")
    resumed, history = train(name="broken")  # from the checkpoint of step 4
    np.testing.assert_allclose(losses(history), whole.losses, rtol=1e-5)
    for a, b in zip(encoder(whole.inverter), encoder(resumed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    again, _ = train(name="broken")  # which trains no further
    for a, b in zip(encoder(resumed), encoder(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_same_encoder_on_two_devices_as_on_one_and_the_last_without_averaging(train, watched):
    # A small clip_norm, so that the test would see a norm without the encoder's part.
    settings = dataclasses.replace(SETTINGS, steps=3, clip_norm=0.01, averaging=0.0)
    one = watched(settings, name="one")
    two, history = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(history), one.losses, atol=1e-5)
    pairs = zip(encoder(one.inverter), encoder(two), one.encoders[-1], strict=True)
    for first, second, last in pairs:
        np.testing.assert_allclose(first, second, atol=1e-4)
        np.testing.assert_array_equal(first, last)


def test_a_saved_autoencoder_needs_nothing_but_itself(whole, images, tmp_path, file, monkeypatch):
    whole.inverter.save(tmp_path / "saved")
    monkeypatch.setattr(weights, "find", None)  # no file of weights is looked for
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(images), whole.inverter.encode(images))
    np.testing.assert_array_equal(loaded.reconstruct(images), whole.inverter.reconstruct(images))
    assert loaded.feature.get_config() == whole.inverter.feature.get_config()
    loaded.save(tmp_path / "again")
    again = tfinvert.load(tmp_path / "again")
    np.testing.assert_array_equal(again.reconstruct(images), loaded.reconstruct(images))


def untrained(feature):
    shape = feature.spec.shape[-1:] if feature.standardize == "channel" else ()
    identity = Standardization(np.zeros(shape, "f4"), np.ones(shape, "f4"))
    return Inverter(feature, identity, inversion.build(feature, width=0.02))


@pytest.mark.parametrize("layer", ["conv1", "fc7"])
def test_a_layer_of_a_file_is_saved_with_its_model(file, images, tmp_path, layer):
    path = tmp_path / "moved.safetensors"
    path.write_bytes(file.read_bytes())
    feature = features.get(f"alexnet/{layer}:weights={path}", image_shape=(32, 32, 3))
    inverter = untrained(feature)
    inverter.save(tmp_path / "saved", "float16")
    path.unlink()
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(images), feature(images))  # not rounded to float16
    assert (loaded.feature.name, loaded.feature.spec) == (feature.name, feature.spec)
    assert loaded.feature.standardize == feature.standardize
    assert not loaded.feature.portable
    with pytest.raises(tfinvert.InputError, match="no such AlexNet weights"):
        features.from_description(features.describe(loaded.feature))


def test_layers_that_the_package_brings_are_saved_without_their_model(
    file, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(weights, "find", lambda name: {"compact": file}[name])
    feature = features.get("alexnet/conv1", image_shape=(32, 32, 3))
    assert feature.portable
    inverter = untrained(feature)
    inverter.save(tmp_path / "saved")
    assert "encoder" not in json.loads((tmp_path / "saved" / CARD).read_text())
    with np.load(tmp_path / "saved" / ARRAYS) as arrays:
        assert not [name for name in arrays if name.startswith("encoder")]
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(images), feature(images))
    # Trained, they are no longer what the package brings.
    assert not feature.to_train().portable


def test_a_copy_to_train_has_weights_of_its_own(tap, images):
    copy = tap.to_train()
    np.testing.assert_array_equal(copy(images), tap(images))
    assert copy.get_config() == tap.get_config()
    copy.model.set_weights([weight * 2 for weight in copy.model.get_weights()])
    assert np.abs(copy(images) - tap(images)).max() > 0.1


def test_representations_without_weights_are_refused(train, file):
    with pytest.raises(tfinvert.InputError, match="hog has no weights to train; auto") as error:
        train(feature=features.get("hog"), name="hog")
    assert "\n" not in str(error.value)
    padded = features.get(f"alexnet/conv1_pad:weights={file}")
    with pytest.raises(tfinvert.InputError, match="alexnet/conv1_pad has no weights to train"):
        padded.to_train()


def test_features_that_change_are_not_cached(tap, source, tmp_path):
    settings = dataclasses.replace(SETTINGS, cached_views=1)
    with pytest.raises(tfinvert.InputError, match="a trained encoder's features change"):
        open_training_dataset(tap, source, settings, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
