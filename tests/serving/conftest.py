import c_program
import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion
from tfinvert.serving import export_savedmodel


def untrained(feature, one_size=True):
    keras.utils.set_random_seed(0)
    # One that asks for multiples of its cells is the harder case of any size.
    design = inversion.DEFAULT if one_size else "paper"
    network = inversion.build(feature, width=0.125, network=design)
    if one_size:  # a layer that knows its input's size
        network = keras.Model(network.input, keras.layers.Cropping2D(0)(network.output))
    weights = network.get_weights()
    weights[-2] *= 20.0  # so that reconstructions vary and lie around mid-grey, not clipped
    weights[-1] += 0.5
    network.set_weights(weights)
    shape = feature.spec.shape[-1:] if feature.standardize == "channel" else ()
    standardization = Standardization(np.zeros(shape, "f4"), np.ones(shape, "f4"))
    return tfinvert.Inverter(feature, standardization, network, {})


@pytest.fixture(scope="session")
def inverter():
    return untrained(tfinvert.features.get("hog", image_shape=(64, 64, 3)))


@pytest.fixture(scope="session")
def free_inverter():
    """Of images of any size."""
    return untrained(tfinvert.features.get("hog", image_shape=(64, 64, 3)), one_size=False)


@pytest.fixture(scope="session")
def free_model(free_inverter, tmp_path_factory):
    return export_savedmodel(free_inverter, tmp_path_factory.mktemp("models") / "free")


@pytest.fixture(scope="session")
def host_inverter():
    return untrained(tfinvert.features.get("skimage_hog", image_shape=(64, 64, 3)))


@pytest.fixture(scope="session")
def sift_inverter():
    return untrained(tfinvert.features.get("sift", image_shape=(64, 64, 3)))


@pytest.fixture(scope="session")
def model(inverter, tmp_path_factory):
    """The directory of an exported version with every endpoint."""
    return export_savedmodel(inverter, tmp_path_factory.mktemp("models") / "hog")


@pytest.fixture(scope="session")
def photo():
    """A photograph of exactly the feature's size: uint8 [64, 64, 3]."""
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((64, 64)))


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """c_runtime.c, compiled."""
    if c_program.compiler() is None:
        pytest.skip("there is no C compiler (cc, gcc)")
    return c_program.build(tmp_path_factory.mktemp("c_runtime"))
