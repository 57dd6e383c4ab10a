"""Going on from an inverter that was trained before, with other images, sizes or settings."""

import keras
import numpy as np

from tfinvert.errors import InputError
from tfinvert.features import describe
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter


def check_initial_inverter(start: Inverter, feature: Feature, network: keras.Model) -> None:
    """Whether a network of that feature can begin with the weights of an inverter.

    Both must be of one feature, but for the size of the images, and have the same layers.

    Raises:
      InputError: they do not.
    """
    check_same_feature(start, feature)
    shapes = ([tuple(weight.shape) for weight in each.weights] for each in (start.network, network))
    if [*next(shapes)] != [*next(shapes)]:
        raise InputError(
            "start must be an inverter with the same network: give the --network, --width, --units "
            f"and image size it was made with. Received: one with {start.network.count_params()} "
            f"weights for one with {network.count_params()}"
        )


def check_same_feature(start: Inverter, feature: Feature) -> None:
    """Whether an inverter is of a feature, its weights included, but for the size of the images.

    Raises:
      InputError: it is not.
    """
    before, now = (_without_size(each) for each in (start.feature, feature))
    if before != now:
        raise InputError(
            f"start must be an inverter of the same feature. Received: one of {_words(before)} for "
            f"{_words(now)}"
        )
    if not _same_weights(start.feature.model, feature.model):
        raise InputError(
            f"start must be an inverter of {feature.name} as it is. Received: one of other weights "
            "under that name, as an autoencoder's, or those of a file that has changed since"
        )


def _same_weights(one: keras.Model | None, other: keras.Model | None) -> bool:
    weights = [model.get_weights() if model else [] for model in (one, other)]
    return len(weights[0]) == len(weights[1]) and all(map(np.array_equal, *weights))


def _without_size(feature: Feature) -> dict[str, object]:
    description = describe(feature)
    config = {k: v for k, v in description["config"].items() if k != "image_shape"}
    return {"name": description["name"], **config}


def _words(description: dict[str, object]) -> str:
    name, *options = description.items()
    return f"{name[1]} ({', '.join(f'{key}={value}' for key, value in options)})"
