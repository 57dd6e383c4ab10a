"""Checks whether training can start from the weights of an existing inverter (`--init_from`)."""

import keras
import numpy as np

from tfinvert.errors import InputError
from tfinvert.features import describe
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter


def check_initial_inverter(initial: Inverter, feature: Feature, network: keras.Model) -> None:
    """Checks that a network can start from an inverter's weights.

    Feature and layers must be equal; the image size may differ.

    Raises:
      InputError: they are not.
    """
    check_same_feature(initial, feature)
    before, now = (
        [tuple(weight.shape) for weight in model.weights] for model in (initial.network, network)
    )
    if before != now:
        raise InputError(
            "--init_from must be an inverter of the same network: pass the --network, --width, "
            "--hidden_units and --image_size that it was trained with. Received: an inverter with "
            f"{initial.network.count_params()} weights for a network with "
            f"{network.count_params()}"
        )


def check_same_feature(initial: Inverter, feature: Feature) -> None:
    """Checks that an inverter's feature, its weights included, equals another.

    The image size may differ.

    Raises:
      InputError: it does not.
    """
    before, now = (_describe_without_size(each) for each in (initial.feature, feature))
    if before != now:
        raise InputError(
            "--init_from must be an inverter of the same --feature. Received: an inverter of "
            f"{_format(before)} for {_format(now)}"
        )
    if not _equal_weights(initial.feature.model, feature.model):
        raise InputError(
            f"--init_from must be an inverter of {feature.name} with the same weights, not an "
            "autoencoder or an inverter of an earlier version of the weights' file. Received: an "
            "inverter of other weights"
        )


def _equal_weights(one: keras.Model | None, other: keras.Model | None) -> bool:
    weights = [model.get_weights() if model else [] for model in (one, other)]
    return len(weights[0]) == len(weights[1]) and all(map(np.array_equal, *weights))


def _describe_without_size(feature: Feature) -> dict[str, object]:
    description = describe(feature)
    config = {k: v for k, v in description["config"].items() if k != "image_shape"}
    return {"name": description["name"], **config}


def _format(description: dict[str, object]) -> str:
    (_, name), *options = description.items()
    return f"{name} ({', '.join(f'{key}={value}' for key, value in options)})"
