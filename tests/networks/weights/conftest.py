"""Random AlexNets, and weight files of each format with their weights."""

import keras
import numpy as np
import pytest

from tests import refusals
from tests.networks.weights.writers import WRITERS
from tfinvert.networks import alexnet
from tfinvert.networks.weights import read

# The smallest inputs whose pool5 is 2×2, so that the order of flattening matters.
INPUT = {"torchvision": 95, "caffenet": 71, "bvlc": 71}
UNITS = (12, 8, 5)


@pytest.fixture(scope="session")
def model():
    """Returns a variant's model with random weights, including biases."""
    models = {}

    def build(variant) -> keras.Model:
        if variant not in models:
            keras.utils.set_random_seed(3)
            network = alexnet.build(variant, input_size=INPUT[variant], units=UNITS)
            random = np.random.default_rng(7)
            for layer in network.layers:
                if layer.weights:
                    kernel, bias = layer.get_weights()
                    layer.set_weights([kernel, random.normal(size=bias.shape, scale=0.1)])
            models[variant] = network
        return models[variant]

    return build


@pytest.fixture(scope="session")
def layers(model):
    """Returns layer → (kernel, bias) of a variant's random model, in Keras' order."""
    return lambda variant: {
        layer.name: tuple(layer.get_weights()) for layer in model(variant).layers if layer.weights
    }


@pytest.fixture(scope="session", params=WRITERS, ids=lambda key: " ".join(key))
def written(request, layers, tmp_path_factory):
    """(variant, path) of a file with the random model's weights, for each format."""
    variant, _ = request.param
    return variant, WRITERS[request.param](tmp_path_factory.mktemp("written"), layers(variant))


@pytest.fixture
def refused():
    """Returns a function that reads an invalid file and returns the one-line error."""

    def refuse(path, variant="", words=()):
        line = refusals.refused(lambda: read(path, variant), *words)
        assert len(line) < 600
        return line

    return refuse
