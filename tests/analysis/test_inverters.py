"""Inverters that do not belong together."""

import pytest

import tfinvert
from tfinvert import features
from tfinvert.analysis.inverters import common_size
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion


def made(side):
    feature = features.get("hog", image_shape=(side, side, 3))
    network = inversion.build(feature, width=0.0625)
    return tfinvert.Inverter(feature, Standardization(0.0, 1.0), network)


def test_the_size_they_share(inverter):
    assert common_size({"a": inverter, "b": made(64)}) == (64, 64)


def test_different_sizes_are_one_line(inverter):
    with pytest.raises(tfinvert.InputError, match="a takes 64×64, b takes 32×32"):
        common_size({"a": inverter, "b": made(32)})
    with pytest.raises(tfinvert.InputError, match="Received: none"):
        common_size({})
