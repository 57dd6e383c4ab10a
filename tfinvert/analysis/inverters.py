"""Inverters in experiments: kinds, labels, networks, and their reconstructions."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.alexnet import PAPER_LAYERS

NETWORK, AUTOENCODER = "inversion network", "autoencoder"
FROM_SCRATCH = "autoencoder from scratch"
# Layers with one value per class, before the softmax.
CLASS_SCORES = ("fc8", "logits")
_LAYER_OPTIONS = ("image_shape", "tokens", "prefix")  # of a feature, and not of its network


def shipped_alexnet(*layers: str) -> list[str]:
    """Names of the shipped inverters of AlexNet's layers; all of the paper's by default."""
    return [f"alexnet-{layer}-64" for layer in layers or PAPER_LAYERS]


def layer_name(inverter: Inverter) -> str:
    """The layer that is inverted, for example "fc6"; without a network, the feature's name."""
    return inverter.feature.name.rpartition("/")[2]


def inverter_kind(inverter: Inverter) -> str:
    """`NETWORK`, `AUTOENCODER` or `FROM_SCRATCH`, an autoencoder from random weights."""
    if not inverter.card.get("train_encoder"):
        return NETWORK
    scratch = inverter.feature.get_config().get("weights") == "random"
    return FROM_SCRATCH if scratch else AUTOENCODER


def inverter_labels(inverters: Mapping[str, Inverter]) -> dict[str, str]:
    """Labels for figures, by name: the layer, and the kind unless it is an inversion network.

    Inverters whose labels would be equal keep their own names.
    """
    labels = {}
    for name, inverter in inverters.items():
        kind = inverter_kind(inverter)
        labels[name] = layer_name(inverter) + ("" if kind == NETWORK else f" ({kind})")
    count = Counter(labels.values())
    return {name: label if count[label] == 1 else name for name, label in labels.items()}


def inverter_columns(name: str, inverter: Inverter) -> dict[str, str]:
    """Columns that describe an inverter: "inverter", "layer" and "kind"."""
    return {"inverter": name, "layer": layer_name(inverter), "kind": inverter_kind(inverter)}


def add_labels(
    rows: Iterable[Mapping[str, Any]], inverters: Mapping[str, Inverter]
) -> list[dict[str, Any]]:
    """Rows with `inverter_columns`, and "label" and "axes" for findings, figures and claims.

    "label" is the inverter's label in figures, "axes" the number of axes of its feature: 1 for
    fully connected layers, 3 for grids.
    """
    labels = inverter_labels(inverters)
    return [
        {
            **row,
            "label": labels[row["inverter"]],
            "axes": len(inverters[row["inverter"]].feature.spec.shape),
        }
        for row in rows
    ]


def reconstruct_resized(inverter: Inverter, images: np.ndarray) -> np.ndarray:
    """Reconstructions of `[n, H, W, 3]`, resized to the size of the images."""
    return resize_images(inverter.reconstruct(images), images.shape[1:3])


def reconstruct_by_label(
    inverters: Mapping[str, Inverter], images: np.ndarray
) -> dict[str, np.ndarray]:
    """Reconstructions by each inverter's label, resized to the size of the images."""
    labels = inverter_labels(inverters)
    return {labels[name]: reconstruct_resized(x, images) for name, x in inverters.items()}


def common_size(inverters: Mapping[str, Inverter]) -> tuple[int, int]:
    """(height, width) of the images that all inverters take.

    Raises:
      InputError: there is no inverter, or they take images of different sizes.
    """
    sizes = {name: inverter.feature.image_shape[:2] for name, inverter in inverters.items()}
    if len(set(sizes.values())) != 1:
        given = ", ".join(f"{name} takes {h}×{w}" for name, (h, w) in sizes.items())
        raise InputError(
            "inverters of one experiment must take images of one size; leave out those of other "
            f"sizes. Received: {given or 'none'}"
        )
    return next(iter(sizes.values()))


def network_names(inverters: Mapping[str, Inverter]) -> dict[str, str]:
    """The network of each inverter, by name: its family, and options that differ in the family.

    For example "alexnet", or "hub (preset=dinov2)" beside "hub (preset=vit)".
    """
    families: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, inverter in inverters.items():
        family = inverter.feature.name.rpartition("/")[0]
        families.setdefault(family, {})[name] = inverter.feature.get_config()
    networks = {}
    for family, configs in families.items():
        options = sorted({key for own in configs.values() for key in own} - set(_LAYER_OPTIONS))
        differ = [key for key in options if len({str(x.get(key)) for x in configs.values()}) > 1]
        for name, own in configs.items():
            words = ", ".join(f"{key}={own.get(key)}" for key in differ)
            networks[name] = f"{family} ({words})" if differ else family
    return {name: networks[name] for name in inverters}


def most_common_network(inverters: Mapping[str, Inverter]) -> list[str]:
    """Names of the inversion networks of the network that most inverters are of."""
    groups: dict[str, list[str]] = {}
    for name, inverter in inverters.items():
        feature = inverter.feature
        if feature.model is not None and inverter_kind(inverter) == NETWORK:
            family = feature.name.rpartition("/")[0]
            config = json.dumps(feature.get_config(), sort_keys=True, default=str)
            groups.setdefault(f"{family} {config}", []).append(name)
    return max(groups.values(), key=len, default=[])
