"""Training a classifier, on tiles of photographs whose class is their brightest channel."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfinvert
from tests.training.runs import EVERY_STEP, Interrupted, interrupting, losses, wrapped_steps
from tfinvert import features
from tfinvert.data.feature_cache import open_cache
from tfinvert.data.folder import ImageFolder
from tfinvert.data.shuffling import shuffled_indices
from tfinvert.metrics.evaluation import read_images
from tfinvert.training import datasets, strategies, train_classifier
from tfinvert.training.datasets import (
    CachedTrainingDataset,
    LabelledFeatureDataset,
    LabelledImageDataset,
)
from tfinvert.training.settings import Intervals
from tfinvert.training.train_classifier import (
    ClassifierSettings,
    InitialClassifier,
    top_k_accuracy,
)

TRUNK = features.get(
    "alexnet/conv5", image_shape=(32, 32, 3), weights="random", input_size=63, variant="torchvision"
)
SETTINGS = ClassifierSettings(
    steps=6, batch_size=8, hidden_units=16, warmup_steps=2, min_crop=0.9, weight_decay=5e-4, seed=3
)
CLASSES = 3


def write_classes(root, photos, count):
    """Tiles with one channel twice as bright as the others, which is their class."""
    rng = np.random.default_rng(count)
    for label in range(CLASSES):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for index, tile in enumerate(rng.permutation(photos)[:count]):
            tint = np.where(np.arange(3) == label, 1.0, 0.5)
            grey = 0.3 + 0.7 * tile[::2, ::2].mean(-1, keepdims=True)
            image = np.round(255 * grey * tint).astype(np.uint8)
            Image.fromarray(image).save(folder / f"{index}.png")


def labels_seen(images):
    """By the brightest channel."""
    return np.asarray(images, np.float64).mean((1, 2)).argmax(-1)


@pytest.fixture(scope="module")
def place(tmp_path_factory, photos):
    place = tmp_path_factory.mktemp("classes")
    write_classes(place / "train", photos, 12)
    write_classes(place / "val", photos, 7)
    return place


@pytest.fixture(scope="module")
def source(place):
    return ImageFolder(place / "train")


@pytest.fixture(scope="module")
def validation(place):
    source = ImageFolder(place / "val")
    return read_images(source, (32, 32)), source.evaluation_labels()


def cached(source, settings, folder):
    settings = dataclasses.replace(settings, cached_views=2)
    dataset = CachedTrainingDataset(TRUNK, source, settings.data_settings, folder)
    return dataset.cache, LabelledFeatureDataset(dataset.cache, source, settings.data_settings)


def start(train="head"):
    layers = {layer.name: layer.get_weights() for layer in TRUNK.model.layers if layer.weights}
    return InitialClassifier(
        "torchvision", (32, 32), 63, CLASSES, layers if train == "head" else {}
    )


@pytest.fixture
def train(source, validation, place, tmp_path):
    def run(settings=SETTINGS, *, fresh=False, name="run", strategy="one", intervals=EVERY_STEP):
        workdir = tmp_path / name
        workdir.mkdir(exist_ok=True)
        if fresh or settings.train == "all":
            training = LabelledImageDataset(source, (32, 32), settings.data_settings)
        else:
            _, training = cached(source, settings, place / "cache")
        devices = strategies.make_strategy(strategy)
        begin = start(settings.train)
        return train_classifier.train_classifier(
            begin, training, validation, settings, workdir, devices, intervals
        )

    return run


def assert_same_weights(a, b, atol=0.0):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, atol=atol)


def test_the_head_learns_and_the_trunk_stays(train, place):
    settings = dataclasses.replace(SETTINGS, steps=60, dropout=0.2)
    network, history = train(settings, intervals=Intervals(log=20, validate=60, checkpoint=60))
    assert losses(history)[-1] < 0.7 * losses(history)[0]
    assert history[-1]["validation_top1"] > 0.6
    assert history[-1]["validation_top5"] == 1.0
    for layer in TRUNK.model.layers:
        for ours, given in zip(
            network.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, given)
    source = ImageFolder(place / "val")
    probabilities = network.predict(read_images(source, (32, 32)), verbose=0)
    scores = top_k_accuracy(probabilities, source.evaluation_labels())
    assert scores["top1"] == pytest.approx(history[-1]["validation_top1"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network(train):
    first, one = train(fresh=True, name="first")
    second, two = train(fresh=True, name="second")
    np.testing.assert_allclose(losses(one), losses(two), rtol=1e-5)
    assert_same_weights(first, second, atol=1e-6)
    _, three = train(dataclasses.replace(SETTINGS, seed=4, steps=1), fresh=True, name="other")
    assert abs(losses(three)[0] - losses(one)[0]) > 1e-3


@pytest.mark.parametrize("part", ["head", pytest.param("all", marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_as_an_unbroken_one(train, tmp_path, part):
    settings = dataclasses.replace(SETTINGS, train=part)  # with dropout
    whole, whole_history = train(settings, name="whole")
    with wrapped_steps(train_classifier, interrupting(5)), pytest.raises(Interrupted):
        train(settings, name="broken")
    entries = (tmp_path / "broken" / "history.jsonl").read_text().splitlines()
    assert json.loads(entries[-1])["step"] == 5  # after the checkpoint of step 4
    resumed, history = train(settings, name="broken")
    np.testing.assert_allclose(losses(history), losses(whole_history), rtol=1e-5)
    assert_same_weights(whole, resumed, atol=1e-6)
    with wrapped_steps(train_classifier, interrupting(0)):
        again, finished = train(settings, name="broken")
    assert finished == history
    assert_same_weights(again, resumed)


@pytest.mark.slow
def test_two_devices_learn_what_one_does(train):
    settings = dataclasses.replace(SETTINGS, dropout=0.0, weight_decay=0.1)
    one, first = train(settings, name="one")
    two, second = train(settings, name="two", strategy="mirrored")
    np.testing.assert_allclose(losses(second), losses(first), atol=1e-5)
    assert_same_weights(one, two, atol=1e-5)


@pytest.mark.slow
def test_two_devices_train_with_dropout(train):
    fresh, _ = train(SETTINGS, fresh=True, name="dropout", strategy="mirrored")
    assert all(np.isfinite(weight).all() for weight in fresh.get_weights())


def test_weight_decay_is_in_the_gradient_of_kernels_alone(train):
    changes = {"steps": 1, "dropout": 0.0, "learning_rate": 0.1, "warmup_steps": 0}
    without, with_decay = (
        train(dataclasses.replace(SETTINGS, **changes, weight_decay=decay), name=f"decay{decay}")[0]
        for decay in (0.0, 0.5)
    )
    before = start().build(SETTINGS)
    for layer in ("fc6", "fc7", "fc8"):
        kernels = [n.get_layer(layer).get_weights()[0] for n in (without, with_decay, before)]
        np.testing.assert_allclose(kernels[0] - kernels[1], 0.1 * 0.5 * kernels[2], atol=1e-6)
        biases = [n.get_layer(layer).get_weights()[1] for n in (without, with_decay)]
        np.testing.assert_allclose(*biases, atol=1e-6)


@pytest.mark.slow
def test_all_layers_are_trained_on_request(train):
    network, history = train(dataclasses.replace(SETTINGS, train="all"))
    before = start("all").build(SETTINGS)
    for layer in ("conv1", "conv5", "fc6", "fc8"):
        moved = network.get_layer(layer).get_weights()[0] - before.get_layer(layer).get_weights()[0]
        assert np.abs(moved).max() > 1e-6
    assert [entry["step"] for entry in history] == [1, 2, 3, 4, 5, 6]


def test_labels_are_those_of_the_cached_views(source, tmp_path):
    cache, training = cached(source, SETTINGS, tmp_path)
    images, values = cache.read(np.arange(len(cache)))
    seen = labels_seen(images)
    assert (np.diff(seen) != 0).sum() > len(seen) / 3  # shuffled, so that labels can go wrong
    assert (seen[: len(source)] != seen[len(source) :]).any()
    np.testing.assert_array_equal(training.labels, seen)
    keys = [value.astype(np.float16).tobytes() for value in values]
    rows = dict(zip(keys, seen, strict=True))
    for given, labels in training.batches(start_step=3).take(12).as_numpy_iterator():
        expected = [rows[value.astype(np.float16).tobytes()] for value in given]
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("held", [1e9, 0])
def test_batches_pair_every_feature_with_its_label_and_resume(
    source, tmp_path, monkeypatch, capsys, held
):
    monkeypatch.setattr(datasets, "IN_MEMORY_BYTES", held)
    count = len(source)
    numbers = np.arange(2.0 * count, dtype=np.float32)[:, None]
    blank = np.zeros((2 * count, 2, 2, 3), np.uint8)
    cache = open_cache(tmp_path, "n", {}, 2 * count, lambda begin, end: iter([(blank, numbers)]))
    training = LabelledFeatureDataset(cache, source, SETTINGS.data_settings)
    assert ("kept in memory" if held else "read from disk") in capsys.readouterr().out
    expected = source.evaluation_labels()[
        shuffled_indices(count, SETTINGS.seed, np.arange(2 * count))
    ]
    drawn = [*training.batches().take(20).as_numpy_iterator()]
    for values, labels in drawn:
        assert values.dtype == np.float32
        np.testing.assert_array_equal(labels, expected[values[:, 0].astype(int)])
    epoch = np.concatenate([values for values, _ in drawn])[: 2 * count, 0]
    assert sorted(epoch) == list(range(2 * count))
    resumed = training.batches(5).take(15).as_numpy_iterator()
    for ours, whole in zip(resumed, drawn[5:], strict=True):
        np.testing.assert_array_equal(ours[0], whole[0])
        np.testing.assert_array_equal(ours[1], whole[1])


def test_fresh_views_come_with_their_labels_from_any_step(source):
    settings = dataclasses.replace(SETTINGS.data_settings, batch_size=5)
    training = LabelledImageDataset(source, (32, 32), settings)
    drawn = [*training.batches().take(16).as_numpy_iterator()]
    for images, labels in drawn:
        np.testing.assert_array_equal(labels, labels_seen(images))
    images, labels = next(training.batches(9).as_numpy_iterator())
    np.testing.assert_array_equal(images, drawn[9][0])
    np.testing.assert_array_equal(labels, drawn[9][1])


def test_values_beyond_the_range_of_float16(source, tmp_path):
    views = np.zeros((4, 2, 2, 3), np.uint8)
    cache = open_cache(
        tmp_path, "n", {}, 4, lambda begin, end: iter([(views, np.full((4, 1), 7e4, np.float32))])
    )
    with pytest.raises(
        tfinvert.InputError, match="beyond the range of float16; .* Received: 7e\\+04"
    ):
        LabelledFeatureDataset(cache, source, SETTINGS.data_settings)


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_accuracy_is_that_of_sorting(classes):
    rng = np.random.default_rng(classes)
    scores = rng.integers(0, 6, (400, classes)).astype(np.float32)  # with many equal ones
    labels = rng.integers(0, classes, 400)
    best = np.argsort(-scores, axis=1, kind="stable")
    expected = {f"top{k}": (best[:, :k] == labels[:, None]).any(1).mean() for k in (1, 5)}
    assert top_k_accuracy(scores, labels) == pytest.approx(expected)


def test_a_constant_classifier_is_no_better_than_chance():
    scores = top_k_accuracy(np.zeros((90, 9), np.float32), np.arange(90) % 9)
    assert scores == {"top1": pytest.approx(1 / 9), "top5": pytest.approx(5 / 9)}


def test_tensorboard_gets_the_scores(train, tmp_path):
    train()
    (file,) = (tmp_path / "run" / "summaries").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(event.step)
    assert found["loss"] == [1, 2, 3, 4, 5, 6]
    assert found["validation_top1"] == found["validation_top5"] == [3, 6]


def test_a_rate_far_too_high_is_reported(train):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e15, warmup_steps=0, steps=40)
    with pytest.raises(tfinvert.InputError, match="the loss became .*try a lower --learning_rate"):
        train(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps must be positive. Received: 0"),
        ({"train": "tail"}, "train must be one of head, all. Received: 'tail'"),
        ({"hidden_units": 0}, "--hidden_units must be positive. Received: 0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\). Received: 1.0"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\)"),
        ({"weight_decay": -1e-4}, "weight_decay must be finite and not neg"),
        ({"weight_decay": float("inf")}, "weight_decay must be finite and not neg"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"cached_views": -1}, "cached_views must not be negative"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(tfinvert.InputError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_a_batch_that_devices_cannot_share(train):
    with pytest.raises(tfinvert.InputError, match="multiple of the 2 devices. Received: 7"):
        train(dataclasses.replace(SETTINGS, batch_size=7), strategy="mirrored")
