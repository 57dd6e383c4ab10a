import contextlib
import os

import c_program
import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import tfinvert
from tfinvert.features.standardization import Standardization
from tfinvert.serving import export_savedmodel
from tfinvert.serving.client import Client


def untrained(feature, any_size=False):
    """Returns an inverter with a few layers and random weights, quick to export and load."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(feature.spec.shape, name="features")
    strides = 2 if any_size else 1  # any size is harder with multiples of cells
    x = keras.layers.Conv2D(16, 3, strides, "same", activation="leaky_relu")(x)
    if any_size:
        x = keras.layers.Conv2DTranspose(16, 4, 2, "same", activation="leaky_relu")(x)
    scale = feature.image_shape[0] // feature.spec.shape[0]
    x = keras.layers.Conv2DTranspose(3, 2 * scale, scale, "same", name="image")(x)
    if not any_size:  # adds a layer that is bound to its input size
        x = keras.layers.Cropping2D(0)(x)
    network = keras.Model(inputs, x)
    weights = network.get_weights()
    weights[-2] *= 5.0  # so that reconstructions vary around mid-grey and are not clipped
    weights[-1] += 0.5
    network.set_weights(weights)
    shape = feature.spec.shape[-1:] if feature.standardize == "channel" else ()
    standardization = Standardization(np.zeros(shape, "f4"), np.ones(shape, "f4"))
    return tfinvert.Inverter(feature, standardization, network, {})


class InProcess:
    """A SavedModel in this process, with the interface of `c_program.Program`."""

    def __init__(self, model):
        self._model = tf.saved_model.load(str(model))

    def ask(self, endpoint, value, output, shape=(1,), seconds=None):
        """Returns the bytes of an output, or None and the error's text."""
        function = self._model.signatures[endpoint]
        (name,) = function.structured_input_signature[1]
        if isinstance(value, bytes):
            tensor = tf.fill(shape, tf.constant(value))
        else:
            tensor = tf.constant(value, tf.float32)
        try:
            found = function(**{name: tensor})[output].numpy()
        except tf.errors.OpError as error:
            return None, " ".join(error.message.split())
        return found.reshape(-1)[0] if found.dtype == object else found.tobytes(), ""

    def peak_memory(self):
        return c_program.peak_memory(os.getpid())


@pytest.fixture(scope="session", params=["in process", pytest.param("C", marks=pytest.mark.slow)])
def serve(request):
    """A function from an exported model to a context in which the model answers."""
    if request.param == "in process":
        return lambda model: contextlib.nullcontext(InProcess(model))
    program = request.getfixturevalue("program")
    return lambda model: c_program.Program(program, model)


@pytest.fixture(scope="session")
def inverter():
    """An inverter for images of one size."""
    return untrained(tfinvert.features.get("hog", image_shape=(64, 64, 3)))


@pytest.fixture(scope="session")
def any_size_inverter():
    return untrained(tfinvert.features.get("hog", image_shape=(64, 64, 3)), any_size=True)


@pytest.fixture(scope="session")
def host_inverter():
    """An inverter of a feature that runs Python on the host."""
    return untrained(tfinvert.features.get("sift", image_shape=(64, 64, 3)))


@pytest.fixture(scope="session")
def model(inverter, tmp_path_factory):
    """The directory of an exported version with every endpoint."""
    return export_savedmodel(inverter, tmp_path_factory.mktemp("models") / "hog")


@pytest.fixture(scope="session")
def any_size_model(any_size_inverter, tmp_path_factory):
    return export_savedmodel(any_size_inverter, tmp_path_factory.mktemp("models") / "any_size")


@pytest.fixture(scope="session")
def client(model):
    """A client of the model on disk."""
    return Client(model)


@pytest.fixture(scope="session")
def any_size_client(any_size_model):
    return Client(any_size_model)


@pytest.fixture(scope="session")
def host_model(host_inverter, tmp_path_factory):
    """The directory of an exported version with the endpoint `invert` only."""
    path = tmp_path_factory.mktemp("models") / "sift"
    return export_savedmodel(host_inverter, path, endpoints=["invert"])


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
