"""Inverters with random weights."""

import functools

import keras
import numpy as np

import tfinvert
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion


@functools.cache
def untrained_inverter(name, network, **settings):
    """Returns an inverter for a feature and a network design, both by name."""
    feature = tfinvert.features.get(name, **settings)
    model = inversion.build(feature, width=0.25, network=network)
    rng = np.random.default_rng(0)
    # Residual networks are initialised with zeros, which would hide what depends on what.
    model.set_weights(
        [
            rng.normal(0, 1 / np.sqrt(np.prod(w.shape[:-1]) + 1), w.shape)
            for w in model.get_weights()
        ]
    )
    channels = feature.spec.shape[-1:]
    return Inverter(
        feature, Standardization(np.zeros(channels, "f4"), np.ones(channels, "f4")), model
    )


def build_tiny_inverter(photos):
    """Returns an inverter of HOG at 64 pixels with two layers, quick to trace, save and load.

    Args:
      photos: `[n, 64, 64, 3]`; the feature is standardised on the first 16.
    """
    keras.utils.set_random_seed(0)
    feature = tfinvert.features.get("hog", image_shape=(64, 64, 3))
    standardization = Standardization.measure(feature, [feature(photos[:16])])
    x = inputs = keras.Input(feature.spec.shape, name="features")
    x = keras.layers.Conv2D(64, 3, padding="same", activation="leaky_relu", name="first")(x)
    x = keras.layers.Conv2DTranspose(
        3, 8, 8, "same", bias_initializer=keras.initializers.Constant(0.5), name="image"
    )(x)
    return Inverter(feature, standardization, keras.Model(inputs, x), {"steps": 0})
