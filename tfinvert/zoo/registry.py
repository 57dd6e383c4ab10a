"""The inverters that come with the package, and their versions: `inverters/versions.json`.

Weights that change get a new version, so that a paper can say which it used: "hog@2".
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


@functools.cache
def version_history() -> dict[str, list[dict[str, Any]]]:
    """Of each inverter all that ever shipped, the one that does now last."""
    return json.loads((INVERTERS_DIR / "versions.json").read_text(encoding="utf-8"))


def shipped() -> list[str]:
    """Names of the inverters that come with the package, for `load`."""
    return sorted(version_history())


def find_shipped(name: str) -> tuple[pathlib.Path, str] | None:
    """The directory of an inverter that ships, and its name with the version; None for others.

    Args:
      name: for example "hog" or "hog@2".

    Raises:
      InputError: it ships, but not in that version.
    """
    bare, _, asked = name.partition("@")
    own = version_history().get(bare)
    if own is None:
        return None
    current = f"{bare}@{own[-1]['version']}"
    if name in (bare, current):
        return INVERTERS_DIR / bare, current
    releases = {f"{bare}@{each['version']}": each["release"] for each in own}
    known = f"came with tfinvert {releases[name]}" if name in releases else "never shipped"
    raise InputError(f"tfinvert {__version__} ships {current}. Received: {name}, which {known}")


CARD = "inverter.json"


@dataclasses.dataclass(frozen=True)
class ShippedInverter:
    """A shipped inverter.

    Attributes:
      name: for `load`.
      versioned: the same with its version, as "hog@2".
      feature: what it inverts, as `features.get` names it.
      height: of the images that it was trained on, in pixels.
      width: likewise.
      any_size: whether it takes images of any other size too.
      draws: whether it draws samples.
      tells: whether it tells its uncertainty.
      bytes: of its files.
      error: its normalised reconstruction error; 0 is perfect.
      images: on so many.
      measured_on: which those are.
      trained_on: what it learnt from.
    """

    name: str
    versioned: str
    feature: str
    height: int
    width: int
    any_size: bool
    draws: bool
    tells: bool
    bytes: int
    error: float
    images: int
    measured_on: str
    trained_on: str


def list_inverters() -> list[ShippedInverter]:
    """What is known of each of them, by name."""
    return [_entry(name) for name in shipped()]


def _entry(name: str) -> ShippedInverter:
    directory, versioned = find_shipped(name)
    card = json.loads((directory / CARD).read_text(encoding="utf-8"))
    feature, made = card["feature"], card["made"]
    layers = {layer["class_name"] for layer in card["network"]["config"]["layers"]}
    height, width, _ = feature["config"]["image_shape"]
    return ShippedInverter(
        name=name,
        versioned=versioned,
        feature=feature["name"],
        height=height,
        width=width,
        any_size="cell_size" in feature["config"] and layers <= ANY_SIZE_LAYERS,
        draws="flow" in card,
        tells="spread" in card,
        bytes=sum(file.stat().st_size for file in directory.iterdir()),
        error=made["metrics"]["normalized_error"],
        images=made["metrics"]["images"],
        measured_on=made["validation_data"],
        trained_on=made["data"],
    )
