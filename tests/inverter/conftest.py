import keras
import numpy as np
import pytest

from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter


@pytest.fixture(scope="session")
def tiny_inverter(photos):
    """An inverter of HOG at 64 pixels with two layers, quick to trace, save and load."""
    keras.utils.set_random_seed(0)
    feature = features.get("hog", image_shape=(64, 64, 3))
    standardization = Standardization.measure(feature, [feature(photos[:16])])
    x = inputs = keras.Input(feature.spec.shape, name="features")
    x = keras.layers.Conv2D(64, 3, padding="same", activation="leaky_relu", name="first")(x)
    x = keras.layers.Conv2DTranspose(
        3, 8, 8, "same", bias_initializer=keras.initializers.Constant(0.5), name="image"
    )(x)
    return Inverter(feature, standardization, keras.Model(inputs, x), {"steps": 0})


@pytest.fixture(scope="session")
def few_photos(photos) -> np.ndarray:
    """Every sixth photograph: `[n, 64, 64, 3]`."""
    return photos[::6]
