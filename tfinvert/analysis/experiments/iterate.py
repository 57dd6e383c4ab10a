"""Repeated encoding and decoding: convergence, fixed points and remaining diversity.

A reconstruction is the average of the images that share a feature, and so is the reconstruction of
a reconstruction. What the loop leaves unchanged is what the feature and the network agree on.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import tqdm
from sklearn.cluster import DBSCAN

from tfinvert import metrics
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    common_size,
    inverter_columns,
    inverter_labels,
    reconstruct_resized,
    shipped_alexnet,
)
from tfinvert.analysis.result_cache import NO_CACHE, Arrays, ResultCache
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label, format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_FIXED_STEP, _MERGE_DISTANCE = 0.01, 0.05  # of N
_PICTURES = 10
_PICTURED_ITERATIONS = (0, 1, 2, 5, 10, 20)


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    times: int = 20,
    cache: ResultCache = NO_CACHE,
) -> Measurement:
    """Reconstructs images, then the reconstructions, and so on.

    Reconstructions are resized to the size of the images, which is what the feature takes, and
    compared there; N, the mean distance between two images, is that of the given images.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      times: number of iterations, each of which encodes and decodes, at least 1.
      cache: keeps the loop of each inverter.

    Raises:
      InputError: there are fewer than two images, all are equal, or `times` is below 1.
    """
    common_size(inverters)
    if times < 1 or len(images) < 2:
        raise InputError(
            "iterate takes at least one iteration and two images. Received: "
            f"times={times}, {len(images)} images"
        )
    scale = metrics.mean_pairwise_distance(images)
    if not scale > 0:
        raise InputError(
            "distances are relative to those between images; give different images. Received: "
            f"{len(images)} images that are all equal"
        )
    rows, loops, labels = [], {}, inverter_labels(inverters)
    for name, inverter in tqdm.tqdm(inverters.items(), "iterate", leave=False):
        run = functools.partial(_run_loop, inverter, images, times, scale)
        loops[labels[name]] = loop = cache(f"iterate/{name}", run)
        rows += [inverter_columns(name, inverter) | row for row in _rows(loop, times)]
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {"loops": loops},
        {"times": times, "images": len(images), "size": images.shape[1:3], "scale": scale},
    )


def count_end_points(images: np.ndarray, distance: float) -> int:
    """Number of clusters of `[n, ...]`, in which images at most `distance` apart are linked.

    The distance is Euclidean, above 0.
    """
    flat = images.reshape(len(images), -1)
    return int(DBSCAN(eps=distance, min_samples=1).fit_predict(flat).max()) + 1


def _run_loop(inverter: Inverter, images: np.ndarray, times: int, scale: float) -> Arrays:
    """Iterates from photographs x_0, with distances in units of N.

    "steps" are ‖x_k - x_{k-1}‖, mean over images, from k = 1 on, and "errors" ‖x_k - x_0‖ from
    k = 0 on; "diversity" is the mean distance between two of the x_k; "still" the fraction of
    images that the last iteration hardly moves; "ends" the number of end points; "shown" has the
    x_k of some images for the k in "at".
    """
    chosen, current = evenly_spaced_indices(len(images), _PICTURES), images
    steps, errors, diversity, shown = [], [0.0], [1.0], {0: images[chosen]}
    for k in range(1, times + 1):
        before, current = current, reconstruct_resized(inverter, current)
        moved = metrics.per_image_distance(before, current) / scale
        steps.append(float(moved.mean()))
        errors.append(metrics.normalized_error(images, current, scale))
        diversity.append(metrics.mean_pairwise_distance(current) / scale)
        if k in _PICTURED_ITERATIONS or k == times:
            shown[k] = current[chosen]
    fixed = float((moved < _FIXED_STEP).mean())
    ends = count_end_points(current, _MERGE_DISTANCE * scale)
    return {
        "steps": np.array(steps),
        "errors": np.array(errors),
        "diversity": np.array(diversity),
        "still": np.array(fixed),
        "ends": np.array(ends),
        "shown": np.stack(list(shown.values())),
        "at": np.array(list(shown)),
    }


def _rows(loop: Arrays, times: int) -> Iterator[dict[str, Any]]:
    for k in range(times + 1):
        yield {
            "iteration": k,
            "step": float(loop["steps"][k - 1]) if k else None,
            "distance": float(loop["errors"][k]),
            "diversity": float(loop["diversity"][k]),
            "fixed_fraction": float(loop["still"]) if k == times else None,
            "end_points": int(loop["ends"]) if k == times else None,
        }


def present(measurement: Measurement) -> Presentation:
    """Presents steps, distances and diversity by iteration, and the last images."""
    table, facts = measurement.table, measurement.facts
    (height, width), times = facts["size"], facts["times"]
    return Presentation(
        "Repeated encoding and decoding",
        f"{facts['images']} photographs, {times} iterations, compared at {height}×{width} pixels. "
        f"Distances are in units of N = {facts['scale']:.2f}, the mean distance between two "
        "photographs. An image is a fixed point if the last iteration moves it by less than "
        f"{_FIXED_STEP:.0%} of N; images linked by gaps of at most {_MERGE_DISTANCE:.0%} of N have "
        "one end point.",
        _findings(table, times, facts["images"]),
        [*_charts(table, times), *_pictures(table, measurement.arrays["loops"])],
    )


def _findings(table: pd.DataFrame, times: int, count: int) -> list[str]:
    first, last = (table[table["iteration"] == k].reset_index(drop=True) for k in (1, times))
    last = last.assign(percent=100 * last["step"], first=first["distance"])
    return [
        f"End points of {count} photographs after {times} iterations: "
        f"{format_rows(last, '{label} {end_points}')}.",
        "The last iteration moves an image, in % of N, by "
        f"{format_rows(last, '{label} {percent:.1f}')}; fraction of fixed points: "
        f"{format_rows(last, '{label} {fixed_fraction:.0%}')}.",
        "The mean distance between two images, N for photographs, has become "
        f"{format_rows(last, '{label} {diversity:.2f} N')}.",
        "Distance to the photograph, in units of N, of the first reconstruction and of the last: "
        f"{format_rows(last, '{label} {first:.2f} and {distance:.2f}')}.",
    ]


def _charts(table: pd.DataFrame, times: int) -> list[Figure]:
    """Three charts for each kind of inverter, with as many layers as can be told apart."""
    ticks = [str(k) if k % max(1, times // 4) == 0 else "" for k in range(times + 1)]
    described = {
        "step": ("Distance moved by an iteration", "Fixed points would not move."),
        "distance": (
            "Distance to the photograph",
            "The first iteration's is the reconstruction error.",
        ),
        "diversity": (
            "Diversity of the images",
            "At 0 all photographs would have become one image.",
        ),
    }
    return [
        charts.table_line_chart(
            own,
            "iteration",
            column,
            caption=caption,
            title=f"{title}: {kind}",
            x=column_label("iteration"),
            y=f"{column_label(column)}, in units of N",
            ticks=ticks,
        )
        for kind, own in table.groupby("kind", sort=False)
        for column, (title, caption) in described.items()
    ]


def _pictures(table: pd.DataFrame, loops: Mapping[str, Arrays]) -> list[Figure]:
    last = table[table["iteration"] == table["iteration"].max()]
    farthest = last.loc[last["distance"].idxmax(), "label"]
    loop = loops[farthest]
    shown = dict(zip(loop["at"].tolist(), loop["shown"], strict=True))
    return [
        image_rows(
            {f"iteration {k}" if k else "photograph": images for k, images in shown.items()},
            title=f"Encoded and decoded repeatedly: {farthest}",
            caption="The layer whose loop ends farthest from the photographs.",
        ),
        image_rows(
            {"photograph": shown[0]} | {label: x["shown"][-1] for label, x in loops.items()},
            title=f"After {max(shown)} iterations",
            caption="The last images of each layer's loop.",
        ),
    ]


EXPERIMENT = Experiment(
    order=110,
    default_inverters=shipped_alexnet(),
    measure=measure,
    present=present,
    changes_photographs=True,
    exhibits=(
        Exhibit(
            120,
            "Encoded and decoded again and again",
            "After",
            "Each reconstruction is reconstructed in turn, many times. What this does not change "
            "is what the layer and the network agree on: deep layers end in a few images that "
            "stand for many, while in the first layers small errors accumulate.",
        ),
    ),
)
