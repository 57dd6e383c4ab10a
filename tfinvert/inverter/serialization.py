"""Reads and writes the directory of an inverter: `inverter.json`, the card, and `weights.npz`."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

import tfinvert.networks.velocity  # noqa: F401  # registers the layers of velocity networks
from tfinvert.common.files import atomic_directory, read_arrays, user_path
from tfinvert.errors import InputError, first_line
from tfinvert.features import describe, from_description
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import restore_tap
from tfinvert.inverter.flow_matching import FlowSampler
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.zoo.registry import CARD_FILE

FORMAT = 1
ARRAYS_FILE = "weights.npz"
# Bounds on the size of an archive: bytes of the widest number and of a member's header, and the
# most channels that a feature has a mean and a scale for.
_MAX_ITEM_BYTES, _HEADER_BYTES, _MAX_CHANNELS = 8, 256, 2**16


def write(
    path: str | pathlib.Path,
    feature: Feature,
    standardization: Standardization,
    network: keras.Model,
    card: Mapping[str, Any],
    uncertainty_head: UncertaintyHead | None,
    flow: FlowSampler | None,
    *,
    dtype: str,
) -> None:
    """Writes the directory of an inverter atomically; see `Inverter.save`.

    Raises:
      InputError: the directory already exists.
    """
    path = user_path(path)
    if path.exists():
        raise InputError(f"{path} already exists; save the inverter to a new directory")
    description = {"format": FORMAT, "feature": describe(feature)}
    arrays = {}
    for name, model in named_models(network, uncertainty_head, flow).items():
        description[name] = _without_initializers(json.loads(model.to_json()))
        arrays |= {f"{name}/{v.path}": v.numpy().astype(dtype) for v in model.weights}
    description["made"] = card
    if uncertainty_head:
        arrays["spread/calibration"] = np.asarray(uncertainty_head.calibration, np.float32)
    if flow:
        arrays["flow/deviation"] = np.float32(flow.residual_std)
    arrays["feature/mean"] = standardization.mean
    arrays["feature/scale"] = standardization.scale
    if standardization.log_floor:
        arrays["feature/log_floor"] = np.float32(standardization.log_floor)
    if not feature.portable:
        model = feature.model
        description["encoder"] = _without_initializers(json.loads(model.to_json()))
        # By index: the paths of weights are not unique in a model of models.
        arrays |= {f"encoder/{i}": _shorten_exactly(v.numpy()) for i, v in enumerate(model.weights)}
    with atomic_directory(path) as directory:
        text = json.dumps(description, indent=1) + "\n"
        (directory / CARD_FILE).write_text(text, encoding="utf-8")
        np.savez_compressed(directory / ARRAYS_FILE, **arrays)


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
    """Reads what `write` wrote: the arguments of `Inverter`.

    Raises:
      InputError: as `Inverter.load`.
    """
    description = _read_card(path)
    try:
        return _restore(description, path / ARRAYS_FILE)
    except InputError:
        raise
    except Exception as error:  # Keras raises many types for a damaged model
        raise InputError(
            f"{path} is not a complete inverter: {CARD_FILE} and {ARRAYS_FILE} do not match "
            f"({first_line(error)})"
        ) from error


def named_models(
    network: keras.Model, uncertainty_head: UncertaintyHead | None, flow: FlowSampler | None
) -> dict[str, keras.Model]:
    """Returns the models whose weights are stored by path, by their names in the file."""
    models = {"network": network}
    if uncertainty_head:
        models["spread"] = uncertainty_head.head
    if flow:
        models["flow"] = flow.network
    return models


def _restore(description: dict[str, Any], arrays_path: pathlib.Path) -> tuple[Any, ...]:
    names = [name for name in ("network", "encoder", "spread", "flow") if name in description]
    models = {name: _build_model(description[name]) for name in names}
    network = models["network"]
    arrays = _read_arrays(arrays_path, list(models.values()))
    for name, model in models.items():
        by_index = name == "encoder"
        for i, variable in enumerate(model.weights):
            variable.assign(arrays[f"{name}/{i if by_index else variable.path}"])
    if "encoder" in models:
        feature = restore_tap(description["feature"], models["encoder"])
    else:
        feature = from_description(description["feature"])
    log_floor = float(arrays.get("feature/log_floor", 0.0))
    standardization = Standardization(arrays["feature/mean"], arrays["feature/scale"], log_floor)
    uncertainty_head = flow = None
    if "spread" in models:
        calibration = arrays["spread/calibration"].reshape(3)
        uncertainty_head = UncertaintyHead(models["spread"], calibration)
    if "flow" in models:
        flow = FlowSampler(models["flow"], float(arrays["flow/deviation"]))
    return feature, standardization, network, description["made"], uncertainty_head, flow


def _build_model(config: Any) -> keras.Model:
    """Builds a model from its configuration, with weights still to be assigned."""
    model = keras.models.model_from_json(json.dumps(config))
    if not isinstance(model, keras.Model):
        raise ValueError(f"{config!r:.40} does not describe a model")
    return model


def _shorten_exactly(array: np.ndarray) -> np.ndarray:
    """Returns the array as float16 if that is exact, so that features of images do not change."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(array.dtype), array) else array


def _without_initializers(config: Any) -> Any:
    """Returns a Keras configuration without initialisers, which a trained network does not need.

    Their arguments change between versions of Keras, and older versions would reject new ones.
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
        card = json.loads((path / CARD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is not a complete inverter: {CARD_FILE} is missing") from error
    except ValueError as error:
        raise InputError(f"{path / CARD_FILE} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        raise InputError(
            f"{path / CARD_FILE} must have format {FORMAT}, which this version of tfinvert reads. "
            f"Received: format {found}"
        )
    return card


def _read_arrays(path: pathlib.Path, models: list[keras.Model]) -> dict[str, np.ndarray]:
    """Reads all arrays as float32, up to the size that the models and a feature can need."""
    sizes = [math.prod(weight.shape) for model in models for weight in model.weights]
    max_bytes = (
        _MAX_ITEM_BYTES * sum(sizes)
        + _HEADER_BYTES * (len(sizes) + 4)
        + 2 * _MAX_ITEM_BYTES * _MAX_CHANNELS
    )
    try:
        arrays = {
            name: array.astype(np.float32) for name, array in read_arrays(path, max_bytes).items()
        }
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} is not a complete inverter: {path.name} is missing"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path} contains a weight that is not finite, in {name}")
    return arrays
