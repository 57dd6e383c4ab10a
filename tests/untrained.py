"""Inverters with random weights."""

import functools

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
