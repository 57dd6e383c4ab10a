"""Mean and scale over batches, against NumPy on all values at once."""

import numpy as np
import pytest

import tfinvert
from tfinvert import features
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization


def test_per_channel(photos):
    feature = features.get("hog")
    values = feature(photos).numpy()
    measured = Standardization.measure(feature, [values[:7], values[7:]])
    np.testing.assert_allclose(measured.mean, values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(measured.scale, values.std((0, 1, 2)), rtol=1e-4)
    standard = measured(values)
    np.testing.assert_allclose(standard.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std((0, 1, 2)), 1, atol=1e-3)


def test_one_scale_for_a_layer():
    feature = HostFeature(lambda image: np.zeros(4), (4,), name="layer")
    feature.standardize = "layer"
    values = np.random.default_rng(0).normal(3, 2, (100, 4))
    measured = Standardization.measure(feature, [values[:30], values[30:]])
    assert measured.mean.shape == measured.scale.shape == ()
    np.testing.assert_allclose([measured.mean, measured.scale], [values.mean(), values.std()], 1e-5)


def test_probabilities_are_standardised_in_their_logarithm():
    feature = HostFeature(lambda image: np.zeros(4), (4,), name="probabilities")
    feature.standardize, feature.log_floor = "layer", 1e-3
    values = np.random.default_rng(0).dirichlet(np.full(4, 0.1), 100)
    measured = Standardization.measure(feature, [values[:30], values[30:]])
    logs = np.log(values + 1e-3)
    np.testing.assert_allclose([measured.mean, measured.scale], [logs.mean(), logs.std()], 1e-5)
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(measured(np.float32(values)), expected, atol=1e-4)
    # Values that a perturbation has made negative are treated as zero.
    lowest = (np.log(1e-3) - logs.mean()) / logs.std()
    np.testing.assert_allclose(measured(np.float32([[-1, 0, -1e-9, -9]])), lowest, rtol=1e-4)


def test_constant_channels_become_zero():
    feature = HostFeature(lambda image: np.zeros(2), (2,), name="flat")
    measured = Standardization.measure(feature, [np.array([[1.0, 5.0], [2.0, 5.0]])])
    np.testing.assert_allclose(measured(np.array([[1.0, 5.0]]))[0, 1], 0.0)


@pytest.mark.parametrize("batches", [[], [np.array([[np.nan, 1.0]])]])
def test_no_values_or_nan(batches):
    feature = HostFeature(lambda image: np.zeros(2), (2,), name="bad")
    with pytest.raises(tfinvert.InputError, match="bad: "):
        Standardization.measure(feature, batches)
