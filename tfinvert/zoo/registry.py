"""The shipped inverters, their versions and what their cards say; does not need TensorFlow.

Changed weights get a new version in `inverters/versions.json`, so that a paper can cite exactly
those it used: "hog@2".
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

from tfinvert.errors import InputError
from tfinvert.networks.any_size import ANY_SIZE_LAYERS
from tfinvert.version import __version__

INVERTERS_DIR = pathlib.Path(__file__).parents[1] / "inverters"
CARD_FILE = "inverter.json"


@dataclasses.dataclass(frozen=True)
class ShippedInverter:
    """A shipped inverter.

    Attributes:
      name: name for `load`, as "hog".
      versioned_name: name with the version, as "hog@2".
      feature: name of the inverted feature, for `features.get`.
      height: height of the training images in pixels.
      width: width of the training images in pixels.
      any_size: whether images of any other size are accepted too.
      supports_sampling: whether it can sample images.
      predicts_uncertainty: whether it predicts its own uncertainty.
      size_bytes: size of its files in bytes.
      normalized_error: normalised reconstruction error on the evaluation images; 0 is perfect.
      num_evaluation_images: number of evaluation images.
      evaluation_data: the evaluation images.
      training_data: the training images.
      commands: the commands that train the inverter again, in order; the data are described in
        docs/inverters.md.
      differences: how the training of the shipped weights differed from the commands.
    """

    name: str
    versioned_name: str
    feature: str
    height: int
    width: int
    any_size: bool
    supports_sampling: bool
    predicts_uncertainty: bool
    size_bytes: int
    normalized_error: float
    num_evaluation_images: int
    evaluation_data: str
    training_data: str
    commands: tuple[str, ...]
    differences: str

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes, and those renamed since 0.3 under their old names too."""
        values = dataclasses.asdict(self)
        return values | {old: values[new] for old, new in _OLD_KEYS.items()}


# Keys of `tfinvert list --json` up to 0.3, kept for one release.
_OLD_KEYS = {
    "versioned": "versioned_name",
    "draws": "supports_sampling",
    "tells": "predicts_uncertainty",
    "bytes": "size_bytes",
    "error": "normalized_error",
    "images": "num_evaluation_images",
    "measured_on": "evaluation_data",
    "trained_on": "training_data",
}


@functools.cache
def version_history() -> dict[str, list[dict[str, Any]]]:
    """Returns all versions of each shipped inverter, by name; the last of a list is the current."""
    return json.loads((INVERTERS_DIR / "versions.json").read_text(encoding="utf-8"))


def shipped() -> list[str]:
    """Returns the names of the inverters that ship with the package, for `load`."""
    return sorted(version_history())


def find_shipped(name: str) -> tuple[pathlib.Path, str] | None:
    """Returns the directory and the versioned name of a shipped inverter; None for other names.

    Args:
      name: for example "hog" or "hog@2".

    Raises:
      InputError: the inverter ships, but not in this version.
    """
    base_name, _, _ = name.partition("@")
    versions = version_history().get(base_name)
    if versions is None:
        return None
    current = f"{base_name}@{versions[-1]['version']}"
    if name in (base_name, current):
        return INVERTERS_DIR / base_name, current
    releases = {f"{base_name}@{each['version']}": each["release"] for each in versions}
    status = f"shipped with tfinvert {releases[name]}" if name in releases else "never shipped"
    raise InputError(
        f"tfinvert {__version__} ships {current}; use this version. Received: {name}, which "
        f"{status}"
    )


def training_commands(name: str) -> dict[str, Any]:
    """Returns how a shipped inverter is trained again.

    Args:
      name: for example "hog".

    Returns:
      `commands`, a list of command lines, and `differences`, a sentence about how the training of
      the shipped weights differed.
    """
    return {key: version_history()[name][-1][key] for key in ("commands", "differences")}


def list_inverters() -> list[ShippedInverter]:
    """Returns the shipped inverters, sorted by name."""
    return [_read_entry(name) for name in shipped()]


def _read_entry(name: str) -> ShippedInverter:
    directory, versioned_name = find_shipped(name)
    origin = training_commands(name)
    card = json.loads((directory / CARD_FILE).read_text(encoding="utf-8"))
    feature, made = card["feature"], card["made"]
    layers = {layer["class_name"] for layer in card["network"]["config"]["layers"]}
    height, width, _ = feature["config"]["image_shape"]
    return ShippedInverter(
        name=name,
        versioned_name=versioned_name,
        feature=feature["name"],
        height=height,
        width=width,
        any_size="cell_size" in feature["config"] and layers <= ANY_SIZE_LAYERS,
        supports_sampling="flow" in card,
        predicts_uncertainty="spread" in card,
        size_bytes=sum(file.stat().st_size for file in directory.iterdir()),
        normalized_error=made["metrics"]["normalized_error"],
        num_evaluation_images=made["metrics"]["images"],
        evaluation_data=made["validation_data"],
        training_data=made["data"],
        commands=tuple(origin["commands"]),
        differences=origin["differences"],
    )
