"""The directory an inverter is saved in: a card, `inverter.json`, and arrays, `weights.npz`."""

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

import tfinvert.networks.velocity  # noqa: F401  # whose layers a flow's network has
from tfinvert.common.files import atomic_directory, read_arrays
from tfinvert.errors import InputError, first_line
from tfinvert.features import describe, from_description
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import restore_tap
from tfinvert.inverter.flow_matching import FlowSampler
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.zoo.registry import CARD

FORMAT = 1
ARRAYS = "weights.npz"
# Of an archive of weights: bytes of the widest number, of a member's header, and the most channels
# that a feature has a mean and a scale for.
_WIDEST, _HEADER, _CHANNELS = 8, 256, 2**16


def write(
    path: str | pathlib.Path,
    feature: Feature,
    standardization: Standardization,
    network: keras.Model,
    made: Mapping[str, Any],
    spread: UncertaintyHead | None,
    flow: FlowSampler | None,
    dtype: str,
) -> None:
    """Writes the directory, whole or not at all; arguments as `Inverter` and its `save`.

    Raises:
      InputError: the directory exists already.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; an inverter is never written over another")
    card = {"format": FORMAT, "feature": describe(feature)}
    arrays = {}
    for name, model in _parts(network, spread, flow).items():
        card[name] = _without_initializers(json.loads(model.to_json()))
        arrays |= {f"{name}/{v.path}": v.numpy().astype(dtype) for v in model.weights}
    card["made"] = made
    if spread:
        arrays["spread/calibration"] = np.asarray(spread.calibration, np.float32)
    if flow:
        arrays["flow/deviation"] = np.float32(flow.deviation)
    arrays["feature/mean"] = standardization.mean
    arrays["feature/scale"] = standardization.scale
    if standardization.log_floor:
        arrays["feature/log_floor"] = np.float32(standardization.log_floor)
    if not feature.portable:
        model = feature.model
        card["encoder"] = _without_initializers(json.loads(model.to_json()))
        # By position: paths are not unique where a model has models in it.
        arrays |= {f"encoder/{i}": _shortest(v.numpy()) for i, v in enumerate(model.weights)}
    with atomic_directory(path) as directory:
        (directory / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        np.savez_compressed(directory / ARRAYS, **arrays)


def _parts(
    network: keras.Model, spread: UncertaintyHead | None, flow: FlowSampler | None
) -> dict[str, keras.Model]:
    """The models that are saved by the paths of their weights, by their names in the card."""
    others = {"spread": spread and spread.head, "flow": flow and flow.network}
    return {"network": network} | {name: model for name, model in others.items() if model}


def read(
    path: pathlib.Path,
) -> tuple[
    Feature,
    Standardization,
    keras.Model,
    dict[str, Any],
    UncertaintyHead | None,
    FlowSampler | None,
]:
    """What `write` wrote: feature, standardisation, network, what made it, spread, what draws.

    Raises:
      InputError: as `Inverter.load`.
    """
    card = _read_card(path)
    try:
        network = _model(card["network"])
        encoder = _model(card["encoder"]) if "encoder" in card else None
        head = _model(card["spread"]) if "spread" in card else None
        drawing = _model(card["flow"]) if "flow" in card else None
        models = [each for each in (network, encoder, head, drawing) if each is not None]
        arrays = _read_arrays(path / ARRAYS, models)
        _fill(network, lambda _, v: arrays[f"network/{v.path}"])
        spread = None
        if head is not None:
            _fill(head, lambda _, v: arrays[f"spread/{v.path}"])
            spread = UncertaintyHead(head, arrays["spread/calibration"].reshape(3))
        if encoder is not None:
            _fill(encoder, lambda i, _: arrays[f"encoder/{i}"])
            feature = restore_tap(card["feature"], encoder)
        else:
            feature = from_description(card["feature"])
        floor = float(arrays.get("feature/log_floor", 0.0))
        mean, scale = arrays["feature/mean"], arrays["feature/scale"]
        flow = None
        if drawing is not None:
            _fill(drawing, lambda _, v: arrays[f"flow/{v.path}"])
            flow = FlowSampler(drawing, float(arrays["flow/deviation"]))
        return feature, Standardization(mean, scale, floor), network, card["made"], spread, flow
    except InputError:
        raise
    except Exception as error:  # Keras has many kinds for a damaged model
        raise InputError(
            f"{path} is not a whole inverter: {CARD} and {ARRAYS} do not fit ({first_line(error)})"
        ) from error


def _model(config: Any) -> keras.Model:
    """A model as its card describes it, with weights that mean nothing yet."""
    model = keras.models.model_from_json(json.dumps(config))
    if not isinstance(model, keras.Model):
        raise ValueError(f"{config!r:.40} describes no model")
    return model


def _fill(model: keras.Model, array: Callable[[int, keras.Variable], np.ndarray]) -> None:
    """Gives a model its weights; `array` gives the value of each variable."""
    for i, variable in enumerate(model.weights):
        variable.assign(array(i, variable))


def _shortest(array: np.ndarray) -> np.ndarray:
    """As float16 where that loses nothing: the images' features stay what they were."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(array.dtype), array) else array


def _without_initializers(config: Any) -> Any:
    """A Keras configuration without what a network with weights has no use for.

    Initialisers have new arguments in new versions of Keras, which older ones would not read.
    """
    if isinstance(config, list):
        return [_without_initializers(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _without_initializers(value)
        for key, value in config.items()
        if not key.endswith("_initializer")
    }


def _read_card(path: pathlib.Path) -> dict[str, Any]:
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not a whole inverter: {CARD} is missing") from error
    except ValueError as error:
        raise InputError(f"{path / CARD} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        raise InputError(f"{path / CARD} has format {found}; this version reads format {FORMAT}")
    return card


def _read_arrays(path: pathlib.Path, models: list[keras.Model]) -> dict[str, np.ndarray]:
    """All arrays, as float32; as much as the models can need, and what a feature is measured by."""
    sizes = [math.prod(weight.shape) for model in models for weight in model.weights]
    most = _WIDEST * sum(sizes) + _HEADER * (len(sizes) + 4) + 2 * _WIDEST * _CHANNELS
    try:
        arrays = read_arrays(path, most)
        found = {name: array.astype(np.float32) for name, array in arrays.items()}
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} is not a whole inverter: {path.name} is missing"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path} holds a weight that is not finite, in {name}")
    return found
