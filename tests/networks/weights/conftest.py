"""Random AlexNets, and their weights in each format."""

import keras
import numpy as np
import pytest

from tests import refusals
from tests.networks.weights.writers import WRITERS
from tfinvert.networks import alexnet
from tfinvert.networks.weights import read

# The smallest inputs whose pool5 is 2×2, so that the order of flattening counts.
INPUT = {"torchvision": 95, "caffenet": 71, "bvlc": 71}
UNITS = (12, 8, 5)


@pytest.fixture(scope="session")
def model():
    """The random model of a variant, biases included."""
    made = {}

    def build(variant) -> keras.Model:
        if variant not in made:
            keras.utils.set_random_seed(3)
            network = alexnet.build(variant, input_size=INPUT[variant], units=UNITS)
            random = np.random.default_rng(7)
            for layer in network.layers:
                if layer.weights:
                    kernel, bias = layer.get_weights()
                    layer.set_weights([kernel, random.normal(size=bias.shape, scale=0.1)])
            made[variant] = network
        return made[variant]

    return build


@pytest.fixture(scope="session")
def layers(model):
    """(kernel, bias) of a variant's random model, in Keras' order."""
    return lambda variant: {
        layer.name: tuple(layer.get_weights()) for layer in model(variant).layers if layer.weights
    }


@pytest.fixture(scope="session", params=WRITERS, ids=lambda key: " ".join(key))
def written(request, layers, tmp_path_factory):
    """(variant, path) of the random model's weights in each format."""
    variant, _ = request.param
    return variant, WRITERS[request.param](tmp_path_factory.mktemp("written"), layers(variant))


@pytest.fixture
def refused():
    """Reads a file that must be refused in one line, and gives the line."""

    def refuse(path, variant="", words=()):
        line = refusals.refused(lambda: read(path, variant), *words)
        assert len(line) < 600
        return line

    return refuse
