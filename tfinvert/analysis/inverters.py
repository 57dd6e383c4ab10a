"""Inverters that are to be compared: whether they can be, what they are called and rebuild."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter

NETWORK, AUTOENCODER = "inversion network", "autoencoder"
FROM_SCRATCH = "autoencoder from scratch"
# Layers of one value a class, before the softmax.
CLASS_SCORES = ("fc8", "logits")
_OF_A_LAYER = ("image_shape", "tokens", "prefix")  # options that say nothing of the network


def layer_name(inverter: Inverter) -> str:
    """The layer of a network that is inverted, for example "fc6"; else the feature's name."""
    return inverter.feature.name.rpartition("/")[2]


def inverter_kind(inverter: Inverter) -> str:
    """`NETWORK`, `AUTOENCODER` or `FROM_SCRATCH`, an autoencoder from random weights."""
    if not inverter.card.get("train_encoder"):
        return NETWORK
    scratch = inverter.feature.get_config().get("weights") == "random"
    return FROM_SCRATCH if scratch else AUTOENCODER


def inverter_labels(inverters: Mapping[str, Inverter]) -> dict[str, str]:
    """By name, what pictures call each: its layer, and its kind unless it is an inversion network.

    Those that would be called alike keep their own names.
    """
    found = {
        name: layer_name(inverter)
        + ("" if inverter_kind(inverter) == NETWORK else f" ({inverter_kind(inverter)})")
        for name, inverter in inverters.items()
    }
    count = Counter(found.values())
    return {name: label if count[label] == 1 else name for name, label in found.items()}


def reconstruct_resized(inverter: Inverter, images: np.ndarray) -> np.ndarray:
    """Reconstructions of `[n, H, W, 3]`, resized to the images' own size."""
    return resize_images(inverter.reconstruct(images), images.shape[1:3])


def reconstruct_by_label(
    inverters: Mapping[str, Inverter], images: np.ndarray
) -> dict[str, np.ndarray]:
    """The same of each, by its label."""
    return {
        name: reconstruct_resized(inverters[key], images)
        for key, name in inverter_labels(inverters).items()
    }


def common_size(inverters: Mapping[str, Inverter]) -> tuple[int, int]:
    """(height, width) of the images that all of them take.

    Raises:
      InputError: there is none, or they take different sizes.
    """
    sizes = {name: inverter.feature.image_shape[:2] for name, inverter in inverters.items()}
    if len(set(sizes.values())) != 1:
        given = ", ".join(f"{name} takes {h}×{w}" for name, (h, w) in sizes.items())
        raise InputError(
            f"give inverters of one image size, so that they see the same images. Received: "
            f"{given or 'none'}"
        )
    return next(iter(sizes.values()))


def network_names(inverters: Mapping[str, Inverter]) -> dict[str, str]:
    """By name, the network that each is of: its family, and how several of one family differ.

    For example "alexnet", or "hub (preset=dinov2)" beside "hub (preset=vit)".
    """
    families: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, inverter in inverters.items():
        family = inverter.feature.name.rpartition("/")[0]
        families.setdefault(family, {})[name] = inverter.feature.get_config()
    found = {}
    for family, configs in families.items():
        options = sorted({key for own in configs.values() for key in own} - set(_OF_A_LAYER))
        told = [key for key in options if len({str(own.get(key)) for own in configs.values()}) > 1]
        for name, own in configs.items():
            words = ", ".join(f"{key}={own.get(key)}" for key in told)
            found[name] = f"{family} ({words})" if told else family
    return {name: found[name] for name in inverters}


def most_common_network(inverters: Mapping[str, Inverter]) -> list[str]:
    """Names of the inversion networks of the network that most of them are of."""
    found: dict[str, list[str]] = {}
    for name, inverter in inverters.items():
        feature = inverter.feature
        if feature.model is not None and inverter_kind(inverter) == NETWORK:
            family = feature.name.rpartition("/")[0]
            config = json.dumps(feature.get_config(), sort_keys=True, default=str)
            found.setdefault(f"{family} {config}", []).append(name)
    return max(found.values(), key=len, default=[])
