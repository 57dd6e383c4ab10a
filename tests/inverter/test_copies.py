"""Copies of inverters: pickle, `copy.deepcopy`, and processes that are spawned."""

import copy
import multiprocessing
import pickle

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import UncertaintyHead, build_head

# Keras 3.15 converts its variables to NumPy in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def through_pickle(inverter):
    return pickle.loads(pickle.dumps(inverter))


def subsample(image):
    return image[::8, ::8]


@pytest.fixture
def small():
    """An inverter of a user's function, quick to trace, with an uncertainty head."""
    feature = HostFeature(subsample, (8, 8, 3), name="small")
    layer = keras.layers.Conv2DTranspose(3, 8, 8, "same", name="image")
    image = layer(inputs := keras.Input((8, 8, 3)))
    standardization = Standardization(np.zeros(3, np.float32), np.ones(3, np.float32))
    network = keras.Model(inputs, image)
    head = UncertaintyHead(build_head(network), np.float32([1, 2, 3]))
    return Inverter(feature, standardization, network, {"steps": 3}, head)


@pytest.mark.parametrize("duplicate", [through_pickle, copy.deepcopy])
def test_copies_equal_the_inverter_before_and_after_use(small, few_photos, duplicate):
    before = duplicate(small)
    expected = small.reconstruct(few_photos)
    features = small.encode(few_photos)
    deviations = small.uncertainty(features)
    for found in (before, duplicate(small), duplicate(before)):
        assert type(found) is Inverter and found.card == {"steps": 3}
        np.testing.assert_array_equal(found.encode(few_photos), features)
        np.testing.assert_array_equal(found.reconstruct(few_photos), expected)
        np.testing.assert_array_equal(found.uncertainty(features), deviations)


def test_a_copy_has_weights_of_its_own(small, few_photos):
    expected = small.reconstruct(few_photos)
    other = copy.deepcopy(small)
    other.network.set_weights([0 * weight for weight in other.network.get_weights()])
    assert not other.reconstruct(few_photos).any()
    np.testing.assert_array_equal(small.reconstruct(few_photos), expected)


@pytest.mark.parametrize(
    "name",
    ["hog", "lbp", "sift", "skimage_hog", pytest.param("alexnet/fc6", marks=pytest.mark.slow)],
)
def test_features_are_copied(name, few_photos):
    feature = tfinvert.features.get(name)
    expected = feature(few_photos[:2])
    for found in (through_pickle(feature), copy.deepcopy(feature)):
        np.testing.assert_array_equal(found(few_photos[:2]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet-fc6-64", "hog-samples-64"])
def test_shipped_inverters_are_copied(name, few_photos):
    inverter, photos = tfinvert.load(name), few_photos[:2]
    expected = inverter.reconstruct(photos)
    for found in (through_pickle(inverter), copy.deepcopy(inverter)):
        assert found.card == inverter.card
        np.testing.assert_array_equal(found.reconstruct(photos), expected)
        if inverter.flow:
            features = inverter.encode(photos)
            samples = inverter.sample(features, 1, steps=2)
            np.testing.assert_array_equal(found.sample(features, 1, steps=2), samples)


@pytest.mark.slow
def test_a_spawned_process_takes_an_inverter(tiny_inverter, few_photos):
    expected = tiny_inverter.reconstruct(few_photos)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(tiny_inverter.reconstruct, (few_photos,))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # one device there, two here
