"""What lies between two photographs: paths between features, inverted (section 5 of the paper).

A feature that keeps places inverts to both photographs on top of each other; one that says what is
seen, and no longer where, may invert to something in between.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import NETWORK, common_size, kind, labels, layer_of
from tfinvert.analysis.result import Claim, Result
from tfinvert.analysis.scores import image_contrast
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.animation import animation
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import dot_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images

STRAIGHT, NORM_KEPT = "straight", "norm kept"
_OVERLAYS, _MORPHS = "conv5", ("fc6", "fc7", "fc8")
_SHOWN, _ANIMATED = 3, 2  # pairs
_MOST_ROWS, _MOST_COLUMNS = 12, 6  # inverters in a strip, in the animation
_ANIMATED_PIXELS = 128  # an image's width in the animation, at most and nearly


def between(start: np.ndarray, end: np.ndarray, t: float, keep_norm: bool = False) -> np.ndarray:
    """Features on the way from one to another: two of `[n, ...]` become `[n, ...]` float32.

    Args:
      start: the first feature of each of n paths.
      end: the last.
      t: how far, from 0 to 1.
      keep_norm: False for the straight path (1 - t)·a + t·b, in whose middle the norm is smaller,
        the more so the less the ends are alike. True gives (1 - t)·a/‖a‖ + t·b/‖b‖ the norm
        (1 - t)·‖a‖ + t·‖b‖; between opposite features there is no such path, and its middle is 0.
    """
    t = np.float32(t)
    if not keep_norm:
        return (1 - t) * start + t * end
    norms = _norm(start), _norm(end)
    direction = (1 - t) * _divided(start, norms[0]) + t * _divided(end, norms[1])
    return _divided(direction, _norm(direction)) * ((1 - t) * norms[0] + t * norms[1])


def path(start: np.ndarray, end: np.ndarray, steps: int, keep_norm: bool = False) -> np.ndarray:
    """Features between two, ends included: two of `[n, ...]` become `[steps, n, ...]` float32.

    Args:
      start: the first feature of each of n paths.
      end: the last.
      steps: at least 2, at equal distances of t from 0 to 1.
      keep_norm: see `between`.
    """
    if steps < 2:
        raise ValueError(f"a path has at least 2 steps. Received: {steps}")
    points = np.linspace(0.0, 1.0, steps, dtype=np.float32)
    return np.stack([between(start, end, t, keep_norm) for t in points])


def overlay(first: np.ndarray, middle: np.ndarray, last: np.ndarray) -> np.ndarray:
    """1 - ‖middle - (first + last) / 2‖ / (‖first - last‖ / 2): three `[n, ...]` become `[n]`.

    1 where the middle is a plain cross-fade of the ends, 0 where it is as far from that as the ends
    themselves are, below 0 where it is farther. Ends that are the same count as 1.
    """
    departure = metrics.per_image_distance((first + last) / 2, middle)
    half = metrics.per_image_distance(first, last) / 2
    return 1 - np.divide(departure, half, out=np.zeros_like(half), where=half > 0)


def interpolate(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    steps: int = 7,
    pairs: int = 128,
) -> Result:
    """Inverts paths between two images' features and measures whether the middle is an overlay.

    Measured at the size of each inverter's output; pictures are at the images' size.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: of the pairs. No image is in two of them.
      steps: images that a strip shows of a path.
      pairs: at most so many are measured.

    Raises:
      InputError: there are fewer than two pairs, or a path has fewer than two steps.
    """
    common_size(inverters)
    first, last = _draw(images, pairs, seed)
    if steps < 2:
        raise InputError(f"interpolate shows at least 2 steps of a path. Received: {steps}")
    rows, overlays, names = [], {}, labels(inverters)
    for name, inverter in tqdm.tqdm(inverters.items(), "interpolate", leave=False):
        ends = inverter.encode(first), inverter.encode(last)
        for way in (STRAIGHT, NORM_KEPT):
            rebuilt = [inverter.invert(at) for at in path(*ends, 3, way == NORM_KEPT)]
            overlays[name, way] = overlay(*rebuilt)
            rows.append(_row(name, inverter, way, overlays[name, way], rebuilt))
    return Result(
        "Between two photographs",
        f"{len(first)} pairs out of {len(images)} photographs, inverted halfway between their "
        "features. Overlay: 1 where what is rebuilt halfway is a plain cross-fade of what is "
        "rebuilt from both ends, 0 where it is as far from that as the ends themselves. Contrast: "
        "the deviation of the pixels from an image's mean colour, over that of the ends. "
        "± is a standard error over pairs.",
        _findings(rows, names),
        rows,
        [
            _chart(overlays, names),
            *_strips(inverters, names, first[:_SHOWN], last[:_SHOWN], steps),
            _animated(inverters, names, first[:_ANIMATED], last[:_ANIMATED], steps),
        ],
        claims(
            {
                name: (layer_of(each), overlays[name, STRAIGHT])
                for name, each in inverters.items()
                if kind(each) == NETWORK
            }
        ),
    )


def claims(overlays: Mapping[str, tuple[str, np.ndarray]]) -> list[Claim]:
    """What the paper found, if these can test it.

    Args:
      overlays: of inversion networks, by name: the layer, and `overlay` of the same pairs on
        straight paths.
    """
    compared = [
        (f"{_OVERLAYS} over {upper}", before - after)
        for lower, before in overlays.values()
        for upper, after in overlays.values()
        if lower == _OVERLAYS and upper in _MORPHS
    ]
    if not compared:
        return []
    values = [(label, x.mean(), scipy.stats.sem(x)) for label, x in compared]
    return [
        Claim(
            "Between two images' features, conv5 overlays the images, fc6 and above morph.",
            "The overlay of conv5 is above that of each of fc6, fc7 and fc8 given, by more than 2 "
            "standard errors, paired over pairs of images, on straight paths.",
            ", ".join(f"{label} by {gain:+.3f} ± {error:.3f}" for label, gain, error in values),
            all(bool(gain > 2 * error) for _, gain, error in values),
        )
    ]


def _norm(features: np.ndarray) -> np.ndarray:
    """L2 norm of each, with the axes kept."""
    axes = tuple(range(1, features.ndim))
    return np.sqrt(np.square(features).sum(axes, keepdims=True))


def _divided(features: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """A feature of zeros has no direction and stays as it is."""
    return features / np.where(norms > 0, norms, 1)


def _draw(images: np.ndarray, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    count = min(pairs, len(images) // 2)
    if count < 2:
        raise InputError(
            f"interpolate takes at least two pairs of images. Received: pairs={pairs} out of "
            f"{len(images)} images"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:count]], images[order[count : 2 * count]]


def _row(
    name: str, inverter: Inverter, way: str, overlays: np.ndarray, rebuilt: list[np.ndarray]
) -> dict[str, Any]:
    first, middle, last = map(image_contrast, rebuilt)
    return {
        "inverter": name,
        "layer": layer_of(inverter),
        "kind": kind(inverter),
        "path": way,
        "overlay": float(overlays.mean()),
        "its standard error": float(scipy.stats.sem(overlays)),
        "contrast": float(middle.mean() / ((first + last) / 2).mean()),
        "pairs": len(overlays),
    }


def _findings(rows: list[dict[str, Any]], names: Mapping[str, str]) -> list[str]:
    ways = {way: [row for row in rows if row["path"] == way] for way in (STRAIGHT, NORM_KEPT)}
    own = ", ".join(
        f"{names[row['inverter']]} {row['overlay']:.3f} ± {row['its standard error']:.3f}"
        for row in ways[STRAIGHT]
    )
    kept = ", ".join(
        f"{names[row['inverter']]} {row['overlay']:.3f} and {row['contrast']:.0%} instead of "
        f"{before['contrast']:.0%}"
        for before, row in zip(ways[STRAIGHT], ways[NORM_KEPT], strict=True)
    )
    return [
        f"Overlay halfway along the straight path, where 1 is a plain cross-fade: {own}.",
        f"With the norm kept, overlay and contrast halfway: {kept}.",
    ]


def _chart(overlays: Mapping[tuple[str, str], np.ndarray], names: Mapping[str, str]) -> Figure:
    series: dict[str, dict[str, tuple[float, float]]] = {}
    for (name, way), values in overlays.items():
        point = float(values.mean()), float(scipy.stats.sem(values))
        series.setdefault(way, {})[names[name]] = point
    return dot_chart(
        series,
        title="Overlay or morph",
        caption="At 1, what is rebuilt halfway between two features is a plain cross-fade of what "
        "is rebuilt from each; the lower, the more it is an image of its own.",
        x="overlay halfway",
    )


def _strips(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    first: np.ndarray,
    last: np.ndarray,
    steps: int,
) -> list[Figure]:
    """One for each pair: layers below each other, t from left to right."""
    rows = {"photographs, cross-faded": path(first, last, steps)}
    for name in list(inverters)[:_MOST_ROWS]:
        inverter = inverters[name]
        vector = len(inverter.feature.spec.shape) == 1
        for way in (STRAIGHT, NORM_KEPT) if vector else (STRAIGHT,):
            label = names[name] + (f", {NORM_KEPT}" if way == NORM_KEPT else "")
            rows[label] = _rebuilt(inverter, first, last, steps, way)
    ticks = [f"{t:.2g}" for t in np.linspace(0, 1, steps)]
    return [
        image_rows(
            {label: images[:, i] for label, images in rows.items()},
            title=f"From one photograph to another, pair {i + 1}",
            caption="Above, the photographs' pixels; below, what is rebuilt from the features "
            f"between theirs, at t from 0 to 1. “{NORM_KEPT.capitalize()}”: the direction is "
            "interpolated, and the norm goes evenly from one end's to the other's.",
            columns=ticks,
        )
        for i in range(len(first))
    ]


def _animated(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    first: np.ndarray,
    last: np.ndarray,
    steps: int,
) -> Figure:
    """Layers side by side, pairs below each other."""
    chosen, frames = list(inverters)[:_MOST_COLUMNS], 2 * steps - 1
    columns = [path(first, last, frames)]
    columns += [_rebuilt(inverters[name], first, last, frames, STRAIGHT) for name in chosen]
    # [frames, pairs, columns, H, W, 3]: a frame's tiles in reading order.
    tiles = np.stack(columns, 2).reshape(frames, -1, *first.shape[1:])
    height, width = first.shape[1:3]
    shown = min(width, _ANIMATED_PIXELS)
    size = round(height * shown / width), shown
    grids = [image_grid({"": resize_images(each, size)}, columns=len(columns)) for each in tiles]
    gif = animation(np.stack(grids), scale=_ANIMATED_PIXELS // shown)
    return Figure(
        "From one photograph to another and back",
        "From left to right: the photographs' pixels, cross-faded; straight paths at "
        f"{', '.join(names[name] for name in chosen)}.",
        gif=gif,
    )


def _rebuilt(
    inverter: Inverter, first: np.ndarray, last: np.ndarray, steps: int, way: str
) -> np.ndarray:
    """`[steps, n, H, W, 3]`, at the images' size."""
    between = path(inverter.encode(first), inverter.encode(last), steps, way == NORM_KEPT)
    rebuilt = inverter.invert(between.reshape(-1, *between.shape[2:]))
    return resize_images(rebuilt, first.shape[1:3]).reshape(steps, *first.shape)
