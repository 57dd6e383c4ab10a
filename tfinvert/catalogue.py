"""The inverters that come with the package, as their cards tell of them: without TensorFlow."""

import dataclasses
import json

from tfinvert import releases
from tfinvert.networks.any_size import ANY_SIZE

CARD = "inverter.json"


@dataclasses.dataclass(frozen=True)
class Entry:
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


def catalogue() -> list[Entry]:
    """What is known of each of them, by name."""
    return [_entry(name) for name in releases.shipped()]


def _entry(name: str) -> Entry:
    directory, versioned = releases.locate(name)
    card = json.loads((directory / CARD).read_text(encoding="utf-8"))
    feature, made = card["feature"], card["made"]
    layers = {layer["class_name"] for layer in card["network"]["config"]["layers"]}
    height, width, _ = feature["config"]["image_shape"]
    return Entry(
        name=name,
        versioned=versioned,
        feature=feature["name"],
        height=height,
        width=width,
        any_size="cell_size" in feature["config"] and layers <= ANY_SIZE,
        draws="flow" in card,
        tells="spread" in card,
        bytes=sum(file.stat().st_size for file in directory.iterdir()),
        error=made["metrics"]["normalized_error"],
        images=made["metrics"]["images"],
        measured_on=made["validation_data"],
        trained_on=made["data"],
    )
