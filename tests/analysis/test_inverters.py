"""Labels of inverters, and inverters that do not belong together."""

import pytest

import tfinvert
from tfinvert import features
from tfinvert.analysis.inverters import (
    AUTOENCODER,
    FROM_SCRATCH,
    NETWORK,
    common_size,
    inverter_kind,
    inverter_labels,
    layer_name,
)
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


def test_labels(inverter, fc6):
    twin = tfinvert.Inverter(fc6.feature, fc6.standardization, fc6.network, {"train_encoder": True})
    assert (layer_name(fc6), inverter_kind(fc6), inverter_kind(twin)) == (
        "fc6",
        NETWORK,
        AUTOENCODER,
    )
    assert inverter_labels({"a": fc6, "b": twin, "c": inverter}) == {
        "a": "fc6",
        "b": "fc6 (autoencoder)",
        "c": "hog",
    }
    assert inverter_labels({"a": fc6, "b": twin, "c": twin}) == {"a": "fc6", "b": "b", "c": "c"}


def test_an_autoencoder_from_scratch():
    feature = features.get("alexnet/fc6", weights="random", input_size=67, units=8)
    network = inversion.build(feature, width=0.0625, hidden_units=8)
    twin = tfinvert.Inverter(feature, Standardization(0.0, 1.0), network, {"train_encoder": True})
    assert inverter_kind(twin) == FROM_SCRATCH
