"""Interpolation between the features of two photographs.

This is an experiment of section 5 of the paper. A feature that keeps positions inverts to both
photographs on top of each other; one that encodes what is seen, and no longer where, may invert to
something in between.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import tqdm

from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.feature_interpolation import crossfade_score, interpolate_path
from tfinvert.analysis.inverters import (
    NETWORK,
    add_labels,
    common_size,
    inverter_columns,
    inverter_kind,
    inverter_labels,
    shipped_alexnet,
)
from tfinvert.analysis.scores import image_contrast, mean_columns
from tfinvert.common.images import resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.animation import animation
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

STRAIGHT, NORM_KEPT = "straight", "norm kept"
_PICTURED_PAIRS, _ANIMATED_PAIRS = 3, 2
_MAX_ROWS, _MAX_COLUMNS = 12, 6  # inverters in a strip and in the animation
_ANIMATED_PIXELS = 128  # maximum width of an image in the animation


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    steps: int = 7,
    pairs: int = 128,
) -> Measurement:
    """Inverts paths between the features of two images and scores their midpoints.

    Scores are at the size of each inverter's output; pictures are at the size of the images.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      seed: random seed of the pairs. Each image is in at most one of them.
      steps: images of a path in the pictures, at least 2.
      pairs: maximum number of pairs, at least 2.

    Raises:
      InputError: there are fewer than two pairs or steps, or inverters take different sizes.
    """
    common_size(inverters)
    first, last = _draw_pairs(images, pairs, seed)
    if steps < 2:
        raise InputError(f"interpolate takes at least 2 steps of a path. Received: {steps}")
    rows, scores = [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "interpolate", leave=False):
        ends = inverter.encode(first), inverter.encode(last)
        for path in (STRAIGHT, NORM_KEPT):
            features = interpolate_path(*ends, 3, path == NORM_KEPT)
            rebuilt = [inverter.invert(each) for each in features]
            scores[name, path] = crossfade_score(*rebuilt)
            contrasts = [image_contrast(each) for each in rebuilt]
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "path": path,
                    **mean_columns("crossfade_score", scores[name, path]),
                    "contrast": float(contrasts[1].mean() / np.mean(contrasts[::2], 0).mean()),
                    "pairs": len(first),
                }
            )
    labels = inverter_labels(inverters)
    pictured, animated = list(inverters)[:_MAX_ROWS], list(inverters)[:_MAX_COLUMNS]
    ends = first[:_PICTURED_PAIRS], last[:_PICTURED_PAIRS]
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "straight_scores": {
                name: scores[name, STRAIGHT]
                for name, inverter in inverters.items()
                if inverter_kind(inverter) == NETWORK
            },
            "strips": {
                "photographs, cross-faded": interpolate_path(*ends, steps),
                **_strips({labels[name]: inverters[name] for name in pictured}, *ends, steps),
            },
            "frames": _frames(
                [inverters[name] for name in animated],
                first[:_ANIMATED_PAIRS],
                last[:_ANIMATED_PAIRS],
                2 * steps - 1,
            ),
        },
        {
            "images": len(images),
            "pairs": len(first),
            "animated": [labels[name] for name in animated],
        },
    )


def _draw_pairs(images: np.ndarray, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    count = min(pairs, len(images) // 2)
    if count < 2:
        raise InputError(
            f"interpolate takes at least two pairs of images. Received: pairs={pairs} out of "
            f"{len(images)} images"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:count]], images[order[count : 2 * count]]


def _strips(
    inverters: Mapping[str, Inverter], first: np.ndarray, last: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """Reconstructions of paths, `[steps, pairs, H, W, 3]`, by row of the pictures."""
    strips = {}
    for label, inverter in inverters.items():
        strips[label] = _reconstruct_path(inverter, first, last, steps, STRAIGHT)
        if len(inverter.feature.spec.shape) == 1:
            strips[f"{label}, {NORM_KEPT}"] = _reconstruct_path(
                inverter, first, last, steps, NORM_KEPT
            )
    return strips


def _frames(
    inverters: list[Inverter], first: np.ndarray, last: np.ndarray, frames: int
) -> np.ndarray:
    """Frames of the animation, `[frames, pairs, columns, H, W, 3]`: photographs, then layers."""
    columns = [interpolate_path(first, last, frames)]
    columns += [_reconstruct_path(x, first, last, frames, STRAIGHT) for x in inverters]
    return np.stack(columns, 2)


def _reconstruct_path(
    inverter: Inverter, first: np.ndarray, last: np.ndarray, steps: int, path: str
) -> np.ndarray:
    """`[steps, n, H, W, 3]`, at the size of the images."""
    ends = inverter.encode(first), inverter.encode(last)
    features = interpolate_path(*ends, steps, path == NORM_KEPT)
    rebuilt = inverter.invert(features.reshape(-1, *features.shape[2:]))
    return resize_images(rebuilt, first.shape[1:3]).reshape(steps, *first.shape)


def present(measurement: Measurement) -> Presentation:
    """Presents cross-fade scores by layer and path, paths of some pairs, and an animation."""
    table, arrays, facts = measurement.table, measurement.arrays, measurement.facts
    return Presentation(
        "Between two photographs",
        f"{facts['pairs']} pairs out of {facts['images']} photographs, inverted halfway between "
        "their features. The cross-fade score is 1 where the reconstruction halfway is the mean of "
        "the reconstructions of both ends, and 0 where it is as far from that mean as the ends "
        "themselves. Contrast is the standard deviation of the pixels from an image's mean colour, "
        "relative to that at the ends. ± is a standard error over pairs.",
        _findings(table),
        [
            charts.table_dot_chart(
                table,
                "crossfade_score",
                "crossfade_score_se",
                series="path",
                title="Cross-fade or morph",
                caption="At 1, the reconstruction halfway between two features is a plain "
                "cross-fade of the reconstructions of both; the lower, the more it is an image of "
                "its own.",
                x="cross-fade score halfway",
            ),
            *_strip_figures(arrays["strips"]),
            _animation(arrays["frames"], facts["animated"]),
        ],
    )


def _findings(table: pd.DataFrame) -> list[str]:
    straight, kept = (
        table[table["path"] == path].reset_index(drop=True) for path in (STRAIGHT, NORM_KEPT)
    )
    kept = kept.assign(straight_contrast=straight["contrast"])
    scores = format_rows(straight, "{label} {crossfade_score:.3f} ± {crossfade_score_se:.3f}")
    both = "{label} {crossfade_score:.3f} and {contrast:.0%} instead of {straight_contrast:.0%}"
    return [
        f"Cross-fade score halfway along the straight path, where 1 is a plain cross-fade: "
        f"{scores}.",
        f"With the norm kept, cross-fade score and contrast halfway: {format_rows(kept, both)}.",
    ]


def _strip_figures(strips: Mapping[str, np.ndarray]) -> list[Figure]:
    """One figure for each pair: layers from top to bottom, t from left to right."""
    steps, pairs = next(iter(strips.values())).shape[:2]
    return [
        image_rows(
            {label: images[:, i] for label, images in strips.items()},
            title=f"From one photograph to another, pair {i + 1}",
            caption="First row: the photographs' pixels. Other rows: reconstructions from the "
            f"features between theirs, at t from 0 to 1. “{NORM_KEPT.capitalize()}”: the direction "
            "is interpolated, and the norm changes linearly from one end to the other.",
            columns=[f"{t:.2g}" for t in np.linspace(0, 1, steps)],
        )
        for i in range(pairs)
    ]


def _animation(frames: np.ndarray, labels: list[str]) -> Figure:
    """Layers from left to right, pairs from top to bottom."""
    count, _, columns, height, width, _ = frames.shape
    tiles = frames.reshape(count, -1, *frames.shape[3:])  # in reading order
    shown = min(width, _ANIMATED_PIXELS)
    size = round(height * shown / width), shown
    grids = [image_grid({"": resize_images(each, size)}, columns=columns) for each in tiles]
    return Figure(
        "From one photograph to another and back",
        "From left to right: the photographs' pixels, cross-faded; straight paths at "
        f"{', '.join(labels)}.",
        gif=animation(np.stack(grids), scale=_ANIMATED_PIXELS // shown),
    )


EXPERIMENT = Experiment(
    order=70,
    default_inverters=shipped_alexnet("conv5", "fc6", "fc7", "fc8"),
    measure=measure,
    judge=claims.interpolate,
    present=present,
    exhibits=(
        Exhibit(
            80,
            "From one photograph to another",
            "From one photograph to another, pair",
            "Images halfway between the activations of two photographs. Where a layer encodes "
            "positions, one photograph lies on top of the other; where it encodes objects, one may "
            "turn into the other.",
            "Between two images",
            slice(2),
        ),
    ),
)
