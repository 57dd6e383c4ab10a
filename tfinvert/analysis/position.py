"""Whether a reconstruction shows an object where it was (section 5 of the paper).

The paper sees rough positions come back even from fully connected layers. Here an object is put
into photographs at known places, and what it changes in the reconstructions tells where it is.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
import tqdm

from tfinvert.analysis.inverters import NETWORK, kind, labels, layer_of
from tfinvert.analysis.masks import soft_disc
from tfinvert.analysis.parts import NOTHING_KEPT, Arrays, Parts
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import plots
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

_EDGE = 0.2  # of the object's diameter
_CANDIDATES = 8  # photographs drawn for each background, of which the most unlike gives the object
_CONFIRMS = 0.5

CORRELATION, CORRELATION_SE = "correlation", "standard error of the correlation"
DISTANCE, DISTANCE_SE = "distance (widths)", "standard error of the distance"


def cut_middles(images: np.ndarray, side: int) -> np.ndarray:
    """The squares in the middle: `[n, H, W, 3]` become `[n, side, side, 3]`."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def paste(
    backgrounds: np.ndarray, objects: np.ndarray, mask: np.ndarray, top: int, left: int
) -> np.ndarray:
    """Copies of the backgrounds with an object at one place.

    Args:
      backgrounds: `[n, H, W, 3]`.
      objects: `[n, side, side, 3]`.
      mask: `[side, side]`, how much of the object is seen: 1 hides the background.
      top: row of the object's first pixel.
      left: column likewise.
    """
    copies = backgrounds.copy()
    side, weight = len(mask), mask[..., np.newaxis]
    window = copies[:, top : top + side, left : left + side]
    window += weight * (objects - window)
    return copies


def choose_objects(
    colors: np.ndarray, surroundings: np.ndarray, own: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """For each background the most unlike of a few other photographs, drawn at random.

    Args:
      colors: `[n, 3]`, mean colours of what each photograph would give as an object.
      surroundings: `[m, 3]`, mean colours of the backgrounds.
      own: `[m]`, which of the n photographs each background is: never chosen for it.
      rng: draws.

    Returns:
      Indices of photographs, `[m]`.
    """
    steps = rng.integers(1, len(colors), (len(own), _CANDIDATES))
    drawn = (own[:, np.newaxis] + steps) % len(colors)
    contrast = np.linalg.norm(colors[drawn] - surroundings[:, np.newaxis], axis=-1)
    return drawn[np.arange(len(own)), contrast.argmax(1)]


def center_of_change(changes: np.ndarray) -> np.ndarray:
    """Where images changed, measured from their middle: the centre of mass of the change.

    The median of an image's pixels is taken off first, and what falls below it is 0: a faint change
    of the whole image would pull the centre of mass to the middle.

    Args:
      changes: `[n, H, W]`, at least 0.

    Returns:
      `[n, 2]`, (x, y) in widths of the image, right and down from the middle; 0 where nothing is
      left.
    """
    height, width = changes.shape[1:]
    floor = np.median(changes, (1, 2), keepdims=True)
    above = np.maximum(changes - floor, 0.0).astype(np.float64)
    x = (np.arange(width) - (width - 1) / 2) / width
    y = (np.arange(height) - (height - 1) / 2) / width
    moments = np.stack([above.sum(1) @ x, above.sum(2) @ y], 1)
    total = above.sum((1, 2))[:, np.newaxis]
    return np.divide(moments, total, out=np.zeros_like(moments), where=total > 0)


def correlation(places: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Pearson's, over all backgrounds, places and both coordinates, with its standard error.

    The error is the jackknife's over backgrounds, since the places of one are not independent.
    Where nothing varies, the correlation is 0.

    Args:
      places: `[places, 2]`, true.
      measured: `[places, backgrounds, 2]`.
    """
    true = np.broadcast_to(places[:, np.newaxis], measured.shape)
    products = np.ones_like(measured), true, measured, true**2, measured**2, true * measured
    sums = np.stack([each.sum((0, 2)) for each in products])
    total = sums.sum(1, keepdims=True)
    without = _pearson(total - sums)
    count = len(without)
    error = np.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    return float(_pearson(total)[0]), float(error)


def position(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    places: int = 4,
    size: float = 0.3,
    backgrounds: int = 256,
    parts: Parts = NOTHING_KEPT,
) -> Result:
    """Puts an object at the places of a grid and measures where reconstructions change.

    The change is the squared difference, summed over channels, between reconstructions with and
    without the object, at the inverters' own output sizes.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: of the photographs the objects are cut from.
      places: of the grid along each side, at least 2; the outermost touch the image's border.
      size: the object's diameter, as a fraction of the image's width.
      backgrounds: at most so many of the images, evenly spaced.
      parts: keeps where each inverter's reconstructions change.

    Raises:
      InputError: there are fewer than two images or backgrounds, or a setting is out of range.
    """
    height, width = images.shape[1:3]
    side = round(size * width)
    if min(len(images), backgrounds, places) < 2 or not 2 <= side < min(height, width):
        raise InputError(
            "position takes at least 2 images, backgrounds and places, and a size between 2 pixels "
            f"and the image. Received: {len(images)} images, backgrounds={backgrounds}, "
            f"places={places}, size={size:g}, {side} of {height}×{width} pixels"
        )
    chosen = evenly(len(images), backgrounds)
    without, objects, contrast = _scenes(images, chosen, side, np.random.default_rng(seed))
    mask = soft_disc(side, side, side, _EDGE * side)
    corners = [
        (round(top), round(left))
        for top in np.linspace(0, height - side, places)
        for left in np.linspace(0, width - side, places)
    ]
    true = np.array([_from_middle(corner, side, height, width) for corner in corners])
    names, rows, measured = labels(inverters), [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "position", leave=False):
        measure = functools.partial(_measure, inverter, without, objects, mask, corners)
        found = parts(f"position/{name}", measure)["centers"]
        measured[names[name]] = found
        facts = {"inverter": name, "layer": layer_of(inverter), "kind": kind(inverter)}
        rows.append(facts | _row(true, found))
    chance = float(np.linalg.norm(true, axis=1).mean())
    shown, row = int(contrast.argmax()), (places // 2) * places
    scene = without[[shown]], objects[[shown]], mask, corners[row : row + places]
    return Result(
        "Does a reconstruction show an object where it was?",
        f"A disc of {size:g} of the width, cut from the middle of another photograph, was put at "
        f"{places}×{places} places into {len(chosen)} photographs. Where reconstructions with and "
        "without it differ, at the centre of mass of the squared difference above its median, is "
        "where the object is rebuilt. Distances are in widths of the image; always saying the "
        f"middle is {chance:.3f} off.",
        _findings(rows, names, chance),
        rows,
        [
            _correlation_chart(rows, names),
            _place_chart(measured, true),
            _pictures(inverters, names, *scene),
        ],
        _claims(inverters, rows, names),
    )


def _measure(
    inverter: Inverter,
    without: np.ndarray,
    objects: np.ndarray,
    mask: np.ndarray,
    corners: Sequence[tuple[int, int]],
) -> Arrays:
    """Where reconstructions change, `[places, backgrounds, 2]`."""
    before = inverter.reconstruct(without)
    centers = [
        center_of_change(
            _change(before, inverter.reconstruct(paste(without, objects, mask, *corner)))
        )
        for corner in corners
    ]
    return {"centers": np.stack(centers)}


def _scenes(
    images: np.ndarray, chosen: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backgrounds, an object for each, and how unlike the two are."""
    cuts, backgrounds = cut_middles(images, side), images[chosen]
    colors, surroundings = cuts.mean((1, 2)), backgrounds.mean((1, 2))
    sources = choose_objects(colors, surroundings, chosen, rng)
    contrast = np.linalg.norm(colors[sources] - surroundings, axis=1)
    return backgrounds, cuts[sources], contrast


def _from_middle(
    corner: tuple[int, int], side: int, height: int, width: int
) -> tuple[float, float]:
    """(x, y) of an object's centre, in widths of the image from its middle."""
    top, left = corner
    return (left + side / 2 - width / 2) / width, (top + side / 2 - height / 2) / width


def _change(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.square(others - images).sum(-1)


def _pearson(sums: np.ndarray) -> np.ndarray:
    """Of counts and sums of a, b, a², b² and ab: `[6, n]` becomes `[n]`."""
    count, a, b, aa, bb, ab = sums
    spread = np.sqrt(np.maximum((count * aa - a**2) * (count * bb - b**2), 0.0))
    return np.divide(count * ab - a * b, spread, out=np.zeros_like(a), where=spread > 0)


def _row(true: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    value, error = correlation(true, measured)
    distance = np.linalg.norm(measured - true[:, np.newaxis], axis=-1).mean(0)
    return {
        CORRELATION: value,
        CORRELATION_SE: error,
        DISTANCE: float(distance.mean()),
        DISTANCE_SE: float(scipy.stats.sem(distance)),
        "distance of the middle (widths)": float(np.linalg.norm(true, axis=1).mean()),
        "backgrounds": len(distance),
    }


def _value(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return f"{names[row['inverter']]} {row[CORRELATION]:.3f} ± {row[CORRELATION_SE]:.3f}"


def _findings(rows: list[dict[str, Any]], names: Mapping[str, str], chance: float) -> list[str]:
    found = [
        "The places where reconstructions change correlate with the object's: "
        f"{', '.join(_value(row, names) for row in rows)}.",
        "They are off by "
        + ", ".join(
            f"{names[row['inverter']]} {row[DISTANCE]:.3f} ± {row[DISTANCE_SE]:.3f}" for row in rows
        )
        + f" widths of the image, where always saying the middle is off by {chance:.3f}.",
    ]
    worse = [names[row["inverter"]] for row in rows if row[DISTANCE] >= chance]
    if worse:
        found.append(f"No nearer than the middle of the image: {', '.join(worse)}.")
    return found


def _correlation_chart(rows: list[dict[str, Any]], names: Mapping[str, str]) -> Figure:
    values = {names[row["inverter"]]: (row[CORRELATION], row[CORRELATION_SE]) for row in rows}
    return plots.dot_chart(
        {"correlation": values},
        title="Measured with true places, by layer",
        caption="Over all photographs, places and both coordinates, with standard errors over "
        "photographs.",
        x="correlation of measured and true place",
    )


def _place_chart(measured: Mapping[str, np.ndarray], true: np.ndarray) -> Figure:
    """Of the horizontal coordinate."""
    columns, index = np.unique(true[:, 0], return_inverse=True)
    lines = {}
    for label, found in list(measured.items())[: plots.MAX_ORDERED]:
        lines[label] = []
        for i, column in enumerate(columns):
            values = found[index == i, :, 0].mean(0)
            point = (column, values.mean(), scipy.stats.sem(values))
            lines[label].append(tuple(map(float, point)))
    rest = len(measured) - len(lines)
    return plots.line_chart(
        lines,
        title="Measured by true place",
        caption="Across the image, means over photographs with standard errors; where the object "
        "is shown exactly, both are the same."
        + (f" The last {rest} inverters are left out." if rest else ""),
        x="true place (widths right of the middle)",
        y="measured place (widths)",
        floor=None,
        ordered=True,
    )


def _pictures(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    background: np.ndarray,
    thing: np.ndarray,
    mask: np.ndarray,
    corners: list[tuple[int, int]],
) -> Figure:
    copies = [paste(background, thing, mask, *corner) for corner in corners]
    shown = np.concatenate([background, *copies])
    rows = {"input": _with_changes(shown)}
    for name, inverter in inverters.items():
        rebuilt = resize_images(inverter.reconstruct(shown), shown.shape[1:3])
        rows[names[name]] = _with_changes(rebuilt)
    places = [f"place {i + 1}" for i in range(len(corners))]
    return image_rows(
        rows,
        title="One object at several places",
        caption="The photograph and object most unlike each other: what is rebuilt without and "
        "with the object, and where the two differ, each row from black to its largest change.",
        columns=["without", *places, *[f"change {i + 1}" for i in range(len(corners))]],
    )


def _with_changes(images: np.ndarray) -> np.ndarray:
    """Images, and what sets all but the first apart from it, as grey images up to white."""
    changes = np.sqrt(_change(images[:1], images[1:]))
    grey = changes / max(float(changes.max()), np.finfo(np.float32).tiny)
    return np.concatenate([images, np.repeat(grey[..., np.newaxis], 3, -1)])


def _claims(
    inverters: Mapping[str, Inverter], rows: list[dict[str, Any]], names: Mapping[str, str]
) -> list[Claim]:
    connected = [
        row
        for row in rows
        if row["kind"] == NETWORK and len(inverters[row["inverter"]].feature.spec.shape) == 1
    ]
    if not connected:
        return []
    return [
        Claim(
            "Rough position survives in fully connected layers.",
            f"The correlation of measured and true place is above {_CONFIRMS} at every fully "
            "connected layer given.",
            ", ".join(_value(row, names) for row in connected),
            all(row[CORRELATION] > _CONFIRMS for row in connected),
        )
    ]
