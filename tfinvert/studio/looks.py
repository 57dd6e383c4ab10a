"""A state and its photographs → what the page shows: pictures, figures, lines of Python."""

import dataclasses
from collections.abc import Iterable

import matplotlib
import numpy as np

from tfinvert import metrics
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.grids import to_uint8
from tfinvert.resize import resize_images
from tfinvert.studio.photographs import Photograph, example, loaded, own_size
from tfinvert.studio.state import UPLOADED, State
from tfinvert.studio.tabs import BY_NAME, MIX, Made, Scene

# The error, mean over colours, that an error map shows as brightest.
_BRIGHTEST = 0.5
_INFERNO = matplotlib.colormaps["inferno"]
UNCERTAINTY = "uncertainty"


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One picture of the page.

    Attributes:
      caption: below it.
      pixels: uint8 `[H, W, 3]`.
    """

    caption: str
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """What the page shows of a state.

    Attributes:
      pictures: the photograph first, then what is rebuilt.
      figures: how near it is, in a line.
      code: Python that gives `rebuilt`, the second picture.
      card: what made the inverter, where that is what is asked for.
    """

    pictures: tuple[Picture, ...]
    figures: str
    code: str
    card: dict[str, object] | None = None


def look(state: State, photo: Photograph | None = None, second: Photograph | None = None) -> Look:
    """Pictures and lines of a state.

    Args:
      state: whose photographs are examples, unless these are given.
      photo: the photograph that was uploaded, if one was.
      second: likewise, to mix with.

    Raises:
      InputError: the inverter cannot do that, or takes no such photograph.
    """
    tab = BY_NAME[state.tab]
    if tab.bounded:
        name, highest = tab.bounded[0], tab.bounded[1](state.values)
        if state.values[name] > highest:
            (slider,) = (control for control in tab.controls if control.name == name)
            raise InputError(
                f"{name} goes up to {slider.text(highest)} here. "
                f"Received: {slider.text(state.values[name])}"
            )
    name = tab.inverter_of(state.values)
    chosen = loaded(name)
    start = f'inverter = tfinvert.load("{name}")'
    if tab.make is None:
        return Look((), "", _script((), (start, "card = inverter.card")), chosen.card)
    photo = photo or _example(state.photograph)
    if state.tab == MIX:
        second = second or _example(state.second)
    size = own_size(name, chosen)
    fitted = photo.fitted(size)
    made = tab.make(Scene(name, chosen, fitted, second), state.values)
    expression, imports = photo.fitting(str(size or ""))
    code = _script((*imports, *made.imports), (start, f"photo = {expression}", *made.lines))
    target = resize_images(fitted[np.newaxis], made.rebuilt.shape[:2])[0]
    maps = _map(state.map, target, made)
    without = ""
    if state.map == UNCERTAINTY:
        if chosen.spread:
            maps = _uncertainty(chosen, fitted, made)
        else:
            without = f" {name} does not tell its uncertainty."
    pictures = [(photo.title, fitted), (made.caption, made.rebuilt), *made.others.items()]
    return Look(
        tuple(Picture(caption, to_uint8(pixels)) for caption, pixels in [*pictures, *maps.items()]),
        _figures(chosen, target, made.rebuilt) + without,
        code,
    )


def _example(name: str) -> Photograph:
    if name == UPLOADED:
        raise InputError("the photograph is no longer held: drop it again, or choose another")
    return example(name)


def normalized_error(chosen: Inverter, photo: np.ndarray, rebuilt: np.ndarray) -> float | None:
    """‖x - x̂‖ / N of one photograph, `[H, W, 3]`; None where the card has no N.

    N is that of the photographs which the inverter was evaluated on, as its card says; at another
    size it grows with the root of the number of pixels.
    """
    scale = chosen.card.get("metrics", {}).get("mean_pairwise_distance")
    if not scale:
        return None
    pixels, own = np.prod(photo.shape[:2]), np.prod(chosen.output_size)
    distance = metrics.per_image_distance(photo[np.newaxis], rebuilt[np.newaxis])[0]
    return float(distance / (scale * np.sqrt(pixels / own)))


def _map(kind: str, photo: np.ndarray, made: Made) -> dict[str, np.ndarray]:
    difference = made.rebuilt - photo
    if kind == "difference":
        return {"difference (grey: none)": np.clip((difference + 1) / 2, 0.0, 1.0)}
    if kind == "error":
        error = np.abs(difference).mean(-1) / _BRIGHTEST
        return {f"error (brightest: {_BRIGHTEST:g} or more)": _INFERNO(error)[..., :3]}
    return {}


def _uncertainty(chosen: Inverter, photo: np.ndarray, made: Made) -> dict[str, np.ndarray]:
    """As the error map, what it may be: one deviation, mean over colours."""
    features = chosen.encode(photo[np.newaxis]) if made.features is None else made.features
    height, width = made.rebuilt.shape[:2]
    deviation = chosen.uncertainty(features)[0].mean(-1)[:height, :width]
    colors = _INFERNO(deviation / _BRIGHTEST)[..., :3]
    return {f"uncertainty (brightest: {_BRIGHTEST:g} or more)": colors}


def _figures(chosen: Inverter, photo: np.ndarray, rebuilt: np.ndarray) -> str:
    height, width = rebuilt.shape[:2]
    normalized = normalized_error(chosen, photo, rebuilt)
    return (
        f"{width}×{height} pixels. Mean error of a pixel: {np.abs(rebuilt - photo).mean():.3f} of 1"
        + (f"; normalised error: {normalized:.2f} of N." if normalized is not None else ".")
    )


def _script(imports: Iterable[str], lines: Iterable[str]) -> str:
    """Imports, as the project sorts them, and lines."""
    imports = sorted({"import tfinvert", *imports}, key=_order)
    foreign = [line for line in imports if "tfinvert" not in line]
    own = [line for line in imports if "tfinvert" in line]
    blocks = ("\n".join(block) for block in (foreign, own, lines) if block)
    return "\n\n".join(blocks) + "\n"


def _order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line
