"""What lies between two photographs: paths between features, inverted (section 5 of the paper).

A feature that keeps places inverts to both photographs on top of each other; one that says what is
seen, and no longer where, may invert to something in between.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from tfinvert.analysis import claims
from tfinvert.analysis.feature_interpolation import crossfade_score, interpolate_path
from tfinvert.analysis.inverters import (
    NETWORK,
    common_size,
    inverter_kind,
    inverter_labels,
    layer_name,
)
from tfinvert.analysis.result import (
    Result,
    Row,
    add_labels,
    format_rows,
    inverter_columns,
    mean_columns,
)
from tfinvert.analysis.scores import image_contrast
from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.animation import animation
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

STRAIGHT, NORM_KEPT = "straight", "norm kept"
OVERLAY, OVERLAY_SE = "overlay", "its standard error"
_SHOWN, _ANIMATED = 3, 2  # pairs
_MOST_ROWS, _MOST_COLUMNS = 12, 6  # inverters in a strip, in the animation
_ANIMATED_PIXELS = 128  # an image's width in the animation, at most and nearly


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
    rows, overlays = [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "interpolate", leave=False):
        ends = inverter.encode(first), inverter.encode(last)
        for way in (STRAIGHT, NORM_KEPT):
            rebuilt = [inverter.invert(at) for at in interpolate_path(*ends, 3, way == NORM_KEPT)]
            overlays[name, way] = crossfade_score(*rebuilt)
            contrasts = [image_contrast(images) for images in rebuilt]
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "path": way,
                    **mean_columns((OVERLAY, OVERLAY_SE), overlays[name, way]),
                    "contrast": float(contrasts[1].mean() / np.mean(contrasts[::2], 0).mean()),
                    "pairs": len(first),
                }
            )
    table = add_labels(rows, inverters)
    return Result(
        "Between two photographs",
        f"{len(first)} pairs out of {len(images)} photographs, inverted halfway between their "
        "features. Overlay: 1 where what is rebuilt halfway is a plain cross-fade of what is "
        "rebuilt from both ends, 0 where it is as far from that as the ends themselves. Contrast: "
        "the deviation of the pixels from an image's mean colour, over that of the ends. "
        "± is a standard error over pairs.",
        _findings(table),
        rows,
        [
            charts.table_dot_chart(
                table,
                OVERLAY,
                OVERLAY_SE,
                series="path",
                title="Overlay or morph",
                caption="At 1, what is rebuilt halfway between two features is a plain cross-fade "
                "of what is rebuilt from each; the lower, the more it is an image of its own.",
                x="overlay halfway",
            ),
            *_strips(inverters, first[:_SHOWN], last[:_SHOWN], steps),
            _animated(inverters, first[:_ANIMATED], last[:_ANIMATED], steps),
        ],
        claims.interpolate(
            {
                name: (layer_name(each), overlays[name, STRAIGHT])
                for name, each in inverters.items()
                if inverter_kind(each) == NETWORK
            }
        ),
    )


def _draw(images: np.ndarray, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    count = min(pairs, len(images) // 2)
    if count < 2:
        raise InputError(
            f"interpolate takes at least two pairs of images. Received: pairs={pairs} out of "
            f"{len(images)} images"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:count]], images[order[count : 2 * count]]


def _findings(rows: Sequence[Row]) -> list[str]:
    straight, kept = ([row for row in rows if row["path"] == way] for way in (STRAIGHT, NORM_KEPT))
    kept = [
        row | {"before": before["contrast"]} for before, row in zip(straight, kept, strict=True)
    ]
    return [
        "Overlay halfway along the straight path, where 1 is a plain cross-fade: "
        f"{format_rows(straight, '{label} {overlay:.3f} ± {its standard error:.3f}')}.",
        "With the norm kept, overlay and contrast halfway: "
        f"{format_rows(kept, '{label} {overlay:.3f} and {contrast:.0%} instead of {before:.0%}')}.",
    ]


def _strips(
    inverters: Mapping[str, Inverter], first: np.ndarray, last: np.ndarray, steps: int
) -> list[Figure]:
    """One for each pair: layers below each other, t from left to right."""
    rows = {"photographs, cross-faded": interpolate_path(first, last, steps)}
    for name, label in list(inverter_labels(inverters).items())[:_MOST_ROWS]:
        rows[label] = _rebuilt(inverters[name], first, last, steps, STRAIGHT)
        if len(inverters[name].feature.spec.shape) == 1:
            label += f", {NORM_KEPT}"
            rows[label] = _rebuilt(inverters[name], first, last, steps, NORM_KEPT)
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
    inverters: Mapping[str, Inverter], first: np.ndarray, last: np.ndarray, steps: int
) -> Figure:
    """Layers side by side, pairs below each other."""
    chosen, frames = list(inverters)[:_MOST_COLUMNS], 2 * steps - 1
    names = inverter_labels(inverters)
    columns = [interpolate_path(first, last, frames)]
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
    features = interpolate_path(
        inverter.encode(first), inverter.encode(last), steps, way == NORM_KEPT
    )
    rebuilt = inverter.invert(features.reshape(-1, *features.shape[2:]))
    return resize_images(rebuilt, first.shape[1:3]).reshape(steps, *first.shape)
