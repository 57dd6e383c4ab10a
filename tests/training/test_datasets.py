"""Training datasets: new views, and cached views with their features."""

import dataclasses

import numpy as np
import pytest

from tfinvert import features
from tfinvert.data.folder import ImageFolder
from tfinvert.data.open_source import open_source
from tfinvert.data.photos import load_photograph
from tfinvert.features.standardization import Standardization
from tfinvert.reporting.grids import write_png
from tfinvert.training.datasets import CachedTrainingDataset, TrainingDataset, augmentation_for
from tfinvert.training.settings import Settings

SETTINGS = Settings(steps=1, batch_size=4, color_jitter=0.0, min_crop=0.5)
CACHED = dataclasses.replace(SETTINGS, cached_views=2)


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("coffee", "chelsea", "rocket")):
        write_png(tmp_path / "photos" / f"{index}.png", load_photograph(name))
    return tmp_path / "photos"


def drawn(dataset, steps):
    return [list(batch) for batch in dataset.batches().take(steps).as_numpy_iterator()]


@pytest.mark.parametrize(("name", "parts"), [("hog", 1), ("sift", 2)])
def test_fresh_examples_hold_features_where_the_device_has_none(name, parts):
    feature = features.get(name)
    dataset = TrainingDataset(feature, open_source("photos", "training"), SETTINGS)
    (batch,) = drawn(dataset, 1)
    assert len(batch) == parts
    images, values = next(dataset.statistics_batches())
    np.testing.assert_array_equal(images, batch[0])
    if parts == 2:
        np.testing.assert_array_equal(batch[1], feature(batch[0]))
    np.testing.assert_allclose(values, feature(batch[0]), atol=1e-5)


@pytest.mark.parametrize("name", ["hog", "sift", "skimage_lbp"])
def test_cached_features_are_those_of_the_cached_views(folder, tmp_path, name):
    feature = features.get(name)
    dataset = CachedTrainingDataset(feature, ImageFolder(folder), CACHED, tmp_path / "cache")
    for images, values in drawn(dataset, 3):
        np.testing.assert_allclose(values, feature(images), atol=1e-5)
    assert sum(len(values) for _, values in dataset.statistics_batches()) == 6


def test_each_photograph_has_as_many_views_as_asked_and_no_two_are_the_same(folder, tmp_path):
    dataset = CachedTrainingDataset(
        features.get("hog"), ImageFolder(folder), CACHED, tmp_path / "cache"
    )
    epoch = np.concatenate([images for images, _ in drawn(dataset, 3)])[:12].reshape(12, -1)
    assert len(np.unique(epoch[:6], axis=0)) == len(np.unique(epoch, axis=0)) == 6
    fresh = TrainingDataset(features.get("hog"), ImageFolder(folder), SETTINGS)
    views = np.concatenate([images for (images,) in drawn(fresh, 2)])[:6].reshape(6, -1)
    nearest = np.abs(views[:, np.newaxis] - epoch[np.newaxis, :6]).max(-1).min(1)
    assert nearest.max() <= 0.5 / 255 + 1e-6  # the first two epochs, rounded to 8 bits


@pytest.mark.slow
def test_other_views_are_another_cache_and_other_batches_are_not(folder, tmp_path):
    others = (
        {"seed": 1},
        {"min_crop": 0.9},
        {"shift": 2},
        {"color_jitter": 0.5},
        {"cached_views": 1},
    )
    for number, changes in enumerate(({}, *others, {"batch_size": 3, "learning_rate": 1.0}), 1):
        settings = dataclasses.replace(CACHED, **changes)
        dataset = CachedTrainingDataset(
            features.get("hog"), ImageFolder(folder), settings, tmp_path / "cache"
        )
        next(iter(dataset.batches()))
        assert len([*(tmp_path / "cache").iterdir()]) == min(number, 1 + len(others)), changes


@pytest.mark.parametrize("change", ["pixels", "name", "feature"])
def test_a_changed_photograph_or_feature_is_another_cache(folder, tmp_path, change):
    def values(cell_size=8):
        feature = features.get("hog", cell_size=cell_size)
        dataset = CachedTrainingDataset(feature, ImageFolder(folder), CACHED, tmp_path / "cache")
        return np.concatenate([values for _, values in dataset.statistics_batches()])

    before = values()
    if change == "pixels":
        write_png(folder / "1.png", load_photograph("astronaut"))
    elif change == "name":
        (folder / "1.png").rename(folder / "3.png")
    after = values(cell_size=4 if change == "feature" else 8)
    assert len([*(tmp_path / "cache").iterdir()]) == 2
    assert not np.array_equal(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv5", "fc6", pytest.param("fc7", marks=pytest.mark.slow)])
def test_cached_layers_are_those_of_the_cached_views(folder, tmp_path, small_layer, name):
    feature = small_layer(name)
    dataset = CachedTrainingDataset(feature, ImageFolder(folder), CACHED, tmp_path / "cache")
    for images, values in drawn(dataset, 3):
        whole = dataset.tail(values)
        assert whole.shape == (4, *feature.spec.shape)
        np.testing.assert_allclose(whole, feature(images), rtol=1e-4, atol=1e-4)
    views = dataset.cache.read(np.arange(6))[0] / np.float32(255)
    found = np.concatenate([values for _, values in dataset.statistics_batches()])
    np.testing.assert_allclose(found, feature(views), rtol=1e-4, atol=1e-4)
    measured = Standardization.measure(
        feature, (values for _, values in dataset.statistics_batches())
    )
    axes = (0, 1, 2) if name == "conv5" else None  # by channel, or as a whole
    mean, deviation = feature(views).numpy().mean(axes), feature(views).numpy().std(axes)
    np.testing.assert_allclose(measured.mean, mean, atol=1e-3)
    np.testing.assert_allclose(measured.scale, np.where(deviation, deviation, 1), atol=1e-3)


@pytest.mark.slow
def test_fully_connected_layers_share_what_conv5_keeps_on_disk(
    folder, tmp_path, small_layer, capsys
):
    kept = []
    for name in ("fc7", "conv5", "fc6"):
        dataset = CachedTrainingDataset(
            small_layer(name), ImageFolder(folder), CACHED, tmp_path / "cache"
        )
        next(iter(dataset.batches()))
        views, values = dataset.cache.read(np.arange(6))
        np.testing.assert_allclose(
            values, small_layer("conv5")(views / np.float32(255)), rtol=1e-4, atol=1e-4
        )
        kept.append(dataset.cache.path)
    assert len({*kept}) == len([*(tmp_path / "cache").iterdir()]) == 1
    assert kept[0].name.startswith("alexnet_conv5-")
    printed = capsys.readouterr().out
    assert printed.count("6 views cached") == 1 and printed.count("6 cached views") == 2
    other = CachedTrainingDataset(
        small_layer("conv4"), ImageFolder(folder), CACHED, tmp_path / "cache"
    )
    next(iter(other.batches()))
    assert len([*(tmp_path / "cache").iterdir()]) == 2


def test_min_crop_and_jitter_are_the_sources_unless_given():
    photos = open_source("photos")
    default = augmentation_for(Settings(steps=1), photos, (64, 64))
    assert (default.min_crop, default.jitter) == (photos.min_crop, photos.jitter)
    explicit = augmentation_for(Settings(steps=1, min_crop=0.9, color_jitter=0.0), photos, (64, 64))
    assert (explicit.min_crop, explicit.jitter) == (0.9, 0.0)


def test_layers_without_a_cache_are_computed_on_the_device(folder, small_layer):
    feature = small_layer("fc6")
    dataset = TrainingDataset(feature, ImageFolder(folder), SETTINGS)
    (batch,) = drawn(dataset, 1)
    assert len(batch) == 1
    np.testing.assert_allclose(
        next(dataset.statistics_batches())[1][:3], feature(batch[0][:3]), atol=1e-5
    )
