"""Assigning weights to models: complete, truncated, and of another variant."""

import functools

import keras
import numpy as np
import pytest

from tests.networks.weights.conftest import INPUT, UNITS
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.weights import Weights, assign


@functools.cache
def build(variant, **kwargs):
    return alexnet.build(variant, **{"input_size": INPUT[variant], "units": UNITS, **kwargs})


@pytest.mark.parametrize("layer", ["conv1", "norm2", "relu4", "pool5", "fc6", "relu7"])
def test_truncated_model(layer, layers):
    complete = build("caffenet")
    for variable in complete.weights:
        variable.assign(keras.ops.zeros_like(variable))
    truncated = keras.Model(complete.input, complete.get_layer(layer).output)
    assign(truncated, Weights("caffenet", layers("caffenet")))
    for each in truncated.layers:
        expected = layers("caffenet").get(each.name, ())
        for array, value in zip(each.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(array, value)


@pytest.mark.parametrize("source", ["torchvision", "caffenet", "bvlc"])
@pytest.mark.parametrize("target", ["torchvision", "caffenet", "bvlc"])
@pytest.mark.parametrize("last", ["prob", "pool2"])
def test_weights_of_another_variant(source, target, last, layers):
    network = build(target)
    if last != "prob":
        network = keras.Model(network.input, network.get_layer(last).output)
    if source == target:
        assign(network, Weights(source, layers(source)))
        return
    before = network.get_weights()
    with pytest.raises(InputError) as caught:
        assign(network, Weights(source, layers(source)))
    assert "\n" not in str(caught.value)
    if last == "prob":
        message = f"the weights are of {source} and the model is of {target}; use"
        assert message in str(caught.value)
    for after, initial in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, initial)


def test_mismatching_layers_are_named(layers):
    weights = Weights("bvlc", layers("bvlc"))
    trunk = Weights("bvlc", dict(list(layers("bvlc").items())[:5]))
    with pytest.raises(InputError, match="lack fc6, which the model has"):
        assign(build("bvlc"), trunk)
    with pytest.raises(InputError, match=r"kernel of fc6 has shape \[1024, 12\].*\[9216, 12\]"):
        assign(build("bvlc", input_size=227), weights)
    with pytest.raises(InputError, match=r"kernel of fc7 has shape \[12, 8\].*\[12, 9\]"):
        assign(build("bvlc", units=(12, 9, 5)), weights)
    assign(build("bvlc", units=None), weights)
