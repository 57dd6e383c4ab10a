"""Weights go into a model of their own variant, whole or cut off, or not at all."""

import keras
import numpy as np
import pytest

from tests.networks.weights.conftest import INPUT, UNITS
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.weights import Weights, assign


def build(variant, **kwargs):
    return alexnet.build(variant, **{"input_size": INPUT[variant], "units": UNITS, **kwargs})


@pytest.mark.parametrize("layer", ["conv1", "norm2", "relu4", "pool5", "fc6", "relu7"])
def test_a_model_cut_off_after_any_layer(layer, layers):
    whole = build("caffenet")
    cut = keras.Model(whole.input, whole.get_layer(layer).output)
    assign(cut, Weights("caffenet", layers("caffenet")))
    for part in cut.layers:
        expected = layers("caffenet").get(part.name, ())
        for found, true in zip(part.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize("of", ["torchvision", "caffenet", "bvlc"])
@pytest.mark.parametrize("into", ["torchvision", "caffenet", "bvlc"])
@pytest.mark.parametrize("last", ["prob", "pool2"])
def test_variants_do_not_mix(of, into, last, layers):
    network = build(into)
    if last != "prob":
        network = keras.Model(network.input, network.get_layer(last).output)
    if of == into:
        assign(network, Weights(of, layers(of)))
        return
    before = network.get_weights()
    with pytest.raises(InputError) as caught:
        assign(network, Weights(of, layers(of)))
    assert "\n" not in str(caught.value)
    if last == "prob":
        assert f"are of {of} and the model is of {into}: variants do not mix" in str(caught.value)
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_what_does_not_fit_names_the_layer(layers):
    weights = Weights("bvlc", layers("bvlc"))
    trunk = Weights("bvlc", dict(list(layers("bvlc").items())[:5]))
    with pytest.raises(InputError, match="no fc6, which the model has"):
        assign(build("bvlc"), trunk)
    with pytest.raises(InputError, match=r"kernel of fc6 has shape \[1024, 12\].*\[9216, 12\]"):
        assign(build("bvlc", input_size=227), weights)
    with pytest.raises(InputError, match=r"kernel of fc7 has shape \[12, 8\].*\[12, 9\]"):
        assign(build("bvlc", units=(12, 9, 5)), weights)
    assign(build("bvlc", units=None), weights)
