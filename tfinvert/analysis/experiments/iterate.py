"""Encode and decode again and again: what the loop keeps, and where it ends.

A reconstruction is the average of what shares a feature, and so is that of the reconstruction. What
the loop does not change is what feature and network agree on.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tqdm
from sklearn.cluster import DBSCAN

from tfinvert import metrics
from tfinvert.analysis.inverters import common_size, inverter_labels, reconstruct_resized
from tfinvert.analysis.result import Result, Row, add_labels, format_rows, inverter_columns
from tfinvert.analysis.result_cache import NO_CACHE, Arrays, ResultCache
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

STEP, DISTANCE, DIVERSITY = "step", "distance to the photograph", "diversity"
_STILL, _SAME = 0.01, 0.05  # of N
_SHOWN = 10
_SHOWN_TIMES = (0, 1, 2, 5, 10, 20)


def iterate(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    times: int = 20,
    parts: ResultCache = NO_CACHE,
) -> Result:
    """Reconstructs images, reconstructs the reconstructions, and so on.

    Reconstructions are resized to the images' size, which is what the feature takes, and compared
    there; N is of the images.

    Args:
      times: how often each is encoded and decoded.

    Raises:
      InputError: the images are fewer than two or all the same, or `times` is below 1.
    """
    common_size(inverters)
    if times < 1 or len(images) < 2:
        raise InputError(
            f"iterate takes times ≥ 1 and at least two images. Received: {times} and {len(images)}"
        )
    scale = metrics.mean_pairwise_distance(images)
    if not scale > 0:
        raise InputError(f"the {len(images)} images are all the same: there is nothing to lose")
    rows, loops, names = [], {}, inverter_labels(inverters)
    for name, inverter in tqdm.tqdm(inverters.items(), "iterate", leave=False):
        iterated = functools.partial(_iterated, inverter, images, times, scale)
        loops[names[name]] = loop = parts(f"iterate/{name}", iterated)
        rows += [inverter_columns(name, inverter) | each for each in _rows(loop, times)]
    table = add_labels(rows, inverters)
    return Result(
        "Encoded and decoded again and again",
        f"{len(images)} photographs, {times} times, compared at {images.shape[1]}×"
        f"{images.shape[2]} pixels. Distances are in units of N = {scale:.2f}, the mean distance "
        "between two photographs. An image stands still if the last iteration moves it by less "
        f"than {_STILL:.0%} of N; images joined by gaps of at most {_SAME:.0%} of N have one end "
        "point.",
        _findings(table, times, len(images)),
        rows,
        [*_charts(pd.DataFrame(table), times), *_pictures(table, loops)],
    )


def count_end_points(images: np.ndarray, distance: float) -> int:
    """How many `[n, ...]` have, if those at most `distance` apart are one, and so are chains.

    The distance is Euclidean, above 0.
    """
    flat = images.reshape(len(images), -1)
    return int(DBSCAN(eps=distance, min_samples=1).fit_predict(flat).max()) + 1


def _iterated(inverter: Inverter, images: np.ndarray, times: int, scale: float) -> Arrays:
    """What becomes of the photographs x_0, in units of N.

    "steps" are ‖x_k - x_{k-1}‖, mean over images, from k = 1 on, and "errors" ‖x_k - x_0‖ from
    k = 0 on; "diversity" is the mean distance between two of the x_k; "still" the fraction of
    images that the last iteration hardly moves; "ends" how many end points there are; "shown" has
    the x_k of a few images for those k that are "at".
    """
    chosen, current = evenly_spaced_indices(len(images), _SHOWN), images
    steps, errors, diversity, shown = [], [0.0], [1.0], {0: images[chosen]}
    for k in range(1, times + 1):
        before, current = current, reconstruct_resized(inverter, current)
        moved = metrics.per_image_distance(before, current) / scale
        steps.append(float(moved.mean()))
        errors.append(metrics.normalized_error(images, current, scale))
        diversity.append(metrics.mean_pairwise_distance(current) / scale)
        if k in _SHOWN_TIMES or k == times:
            shown[k] = current[chosen]
    still, ends = float((moved < _STILL).mean()), count_end_points(current, _SAME * scale)
    return {
        "steps": np.array(steps),
        "errors": np.array(errors),
        "diversity": np.array(diversity),
        "still": np.array(still),
        "ends": np.array(ends),
        "shown": np.stack(list(shown.values())),
        "at": np.array(list(shown)),
    }


def _rows(loop: Arrays, times: int) -> Iterator[dict[str, Any]]:
    for k in range(times + 1):
        yield {
            "iteration": k,
            STEP: float(loop["steps"][k - 1]) if k else None,
            DISTANCE: float(loop["errors"][k]),
            DIVERSITY: float(loop["diversity"][k]),
            "stand still": float(loop["still"]) if k == times else None,
            "end points": int(loop["ends"]) if k == times else None,
        }


def _findings(rows: Sequence[Row], times: int, count: int) -> list[str]:
    first, last = ([row for row in rows if row["iteration"] == k] for k in (1, times))
    last = [
        row | {"percent": 100 * row[STEP], "first": before[DISTANCE]}
        for before, row in zip(first, last, strict=True)
    ]
    return [
        f"After {times} iterations {count} photographs have come to so many end points: "
        f"{format_rows(last, '{label} {end points}')}.",
        "The last iteration moves an image, in % of N, by "
        f"{format_rows(last, '{label} {percent:.1f}')}; images that stand still: "
        f"{format_rows(last, '{label} {stand still:.0%}')}.",
        "The mean distance between two images, N for photographs, has become "
        f"{format_rows(last, '{label} {diversity:.2f} N')}.",
        "From the first reconstruction to the last, the distance to the photograph, in units of N, "
        f"goes: {format_rows(last, '{label} {first:.2f} to {distance to the photograph:.2f}')}.",
    ]


def _charts(table: pd.DataFrame, times: int) -> list[Figure]:
    """Three for each kind of inverter, of as many layers as can be told apart."""
    ticks = [str(k) if k % max(1, times // 4) == 0 else "" for k in range(times + 1)]
    drawn = {
        STEP: ("How far an iteration moves an image", "Fixed points would not move."),
        DISTANCE: (
            "How far from the photograph",
            "The first iteration's is the reconstruction error.",
        ),
        DIVERSITY: (
            "How different the images stay",
            "At 0 all photographs would have become one image.",
        ),
    }
    axes = {DIVERSITY: "mean distance of two images"}
    return [
        charts.table_line_chart(
            own,
            "iteration",
            column,
            caption=caption,
            title=f"{title}: {kind}",
            x="iteration",
            y=f"{axes.get(column, column)}, in units of N",
            ticks=ticks,
        )
        for kind, own in table.groupby("kind", sort=False)
        for column, (title, caption) in drawn.items()
    ]


def _pictures(rows: Sequence[Row], loops: Mapping[str, Arrays]) -> list[Figure]:
    last = (row for row in rows if row["iteration"] == rows[-1]["iteration"])
    farthest = max(last, key=lambda row: row[DISTANCE])["label"]
    shown = dict(zip(loops[farthest]["at"].tolist(), loops[farthest]["shown"], strict=True))
    return [
        image_rows(
            {f"iteration {k}" if k else "photograph": images for k, images in shown.items()},
            title=f"Encoded and decoded again and again: {farthest}",
            caption="Where the loop leads farthest from the photographs.",
        ),
        image_rows(
            {"photograph": shown[0]} | {label: loop["shown"][-1] for label, loop in loops.items()},
            title=f"After {max(shown)} iterations",
            caption="What each layer's loop has made of the photographs.",
        ),
    ]
