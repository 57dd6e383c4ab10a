"""Inverters whose reconstructions are known functions of images."""

from types import SimpleNamespace

import numpy as np


def stub_inverter(rebuild, layer="fc8", shape=(10,), **card):
    """An inverter of a layer of "net" at 64×64 pixels, with images for features."""
    feature = SimpleNamespace(
        name=f"net/{layer}",
        image_shape=(64, 64, 3),
        spec=SimpleNamespace(shape=shape),
        model=rebuild,
        get_config=dict,
        differentiable=False,
    )
    return SimpleNamespace(
        feature=feature, card=card, encode=np.asarray, invert=rebuild, reconstruct=rebuild
    )


def echo(images):
    """The perfect reconstruction."""
    return images
