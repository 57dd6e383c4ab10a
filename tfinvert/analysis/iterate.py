"""Encode and decode again and again: what the loop keeps, and where it ends.

A reconstruction is the average of what shares a feature, and so is that of the reconstruction. What
the loop does not change is what feature and network agree on.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tqdm
from sklearn.cluster import DBSCAN

from tfinvert import metrics
from tfinvert.analysis.inverters import common_size, kind, labels, layer_of
from tfinvert.analysis.parts import NOTHING_KEPT, Arrays, Parts
from tfinvert.analysis.result import Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import MAX_ORDERED, line_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

_STILL, _SAME = 0.01, 0.05  # of N
_SHOWN = 10
_SHOWN_TIMES = (0, 1, 2, 5, 10, 20)


class _Loop(NamedTuple):
    """What one inverter does: of each x_k from the photographs x_0 on, in units of N.

    Attributes:
      kind: see `tfinvert.analysis.inverters.kind`.
      steps: ‖x_k - x_{k-1}‖, mean over images, from k = 1 on.
      errors: ‖x_k - x_0‖, mean over images.
      diversity: mean distance between two of the x_k.
      still: the fraction of images that the last iteration moves by less than 1 %.
      ends: how many end points there are, if those joined by gaps of at most 5 % are one.
      shown: of a few images, the x_k of some k.
    """

    kind: str
    steps: list[float]
    errors: list[float]
    diversity: list[float]
    still: float
    ends: int
    shown: dict[int, np.ndarray]


def iterate(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    times: int = 20,
    parts: Parts = NOTHING_KEPT,
) -> Result:
    """Reconstructs images, reconstructs the reconstructions, and so on.

    Reconstructions are resized to the images' size, which is what the feature takes, and compared
    there; N is of the images.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take; at least two.
      times: how often each is encoded and decoded.
      parts: keeps what each inverter does.

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
    names, rows, loops = labels(inverters), [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "iterate", leave=False):
        arrays = parts(
            f"iterate/{name}", functools.partial(_iterated, inverter, images, times, scale)
        )
        loop = _read(kind(inverter), arrays)
        loops[names[name]] = loop
        rows += _rows(name, inverter, loop)
    return Result(
        "Encoded and decoded again and again",
        f"{len(images)} photographs, {times} times, compared at {images.shape[1]}×"
        f"{images.shape[2]} pixels. Distances are in units of N = {scale:.2f}, the mean distance "
        "between two photographs. An image stands still if the last iteration moves it by less "
        f"than {_STILL:.0%} of N; images joined by gaps of at most {_SAME:.0%} of N have one end "
        "point.",
        _findings(loops, len(images)),
        rows,
        _figures(loops),
    )


def end_points(images: np.ndarray, distance: float) -> int:
    """How many there are, if images at most `distance` apart are one, and so are chains of them.

    Args:
      images: `[n, ...]`.
      distance: Euclidean, above 0.
    """
    flat = images.reshape(len(images), -1)
    return int(DBSCAN(eps=distance, min_samples=1).fit_predict(flat).max()) + 1


def _iterated(inverter: Inverter, images: np.ndarray, times: int, scale: float) -> Arrays:
    """What `_Loop` holds, as arrays; `at` are the iterations of `shown`."""
    chosen, current = evenly(len(images), _SHOWN), images
    steps, errors, diversity, shown = [], [0.0], [1.0], {0: images[chosen]}
    for k in range(1, times + 1):
        before, current = current, resize_images(inverter.reconstruct(current), images.shape[1:3])
        moved = metrics.per_image_distance(before, current) / scale
        steps.append(float(moved.mean()))
        errors.append(metrics.normalized_error(images, current, scale))
        diversity.append(metrics.mean_pairwise_distance(current) / scale)
        if k in _SHOWN_TIMES or k == times:
            shown[k] = current[chosen]
    still, ends = float((moved < _STILL).mean()), end_points(current, _SAME * scale)
    return {
        "steps": np.array(steps),
        "errors": np.array(errors),
        "diversity": np.array(diversity),
        "still": np.array(still),
        "ends": np.array(ends),
        "shown": np.stack(list(shown.values())),
        "at": np.array(list(shown)),
    }


def _read(kind_of: str, arrays: Arrays) -> _Loop:
    return _Loop(
        kind_of,
        arrays["steps"].tolist(),
        arrays["errors"].tolist(),
        arrays["diversity"].tolist(),
        float(arrays["still"]),
        int(arrays["ends"]),
        dict(zip(arrays["at"].tolist(), arrays["shown"], strict=True)),
    )


def _rows(name: str, inverter: Inverter, loop: _Loop) -> list[dict[str, Any]]:
    facts = {"inverter": name, "layer": layer_of(inverter), "kind": loop.kind}
    last = len(loop.steps)
    return [
        facts
        | {
            "iteration": k,
            "step": loop.steps[k - 1] if k else None,
            "distance to the photograph": loop.errors[k],
            "diversity": loop.diversity[k],
            "stand still": loop.still if k == last else None,
            "end points": loop.ends if k == last else None,
        }
        for k in range(last + 1)
    ]


def _findings(loops: Mapping[str, _Loop], count: int) -> list[str]:
    def each(template: str, *values: list) -> str:
        return ", ".join(
            f"{label} {template.format(*(value(loop) for value in values))}"
            for label, loop in loops.items()
        )

    times = len(next(iter(loops.values())).steps)
    return [
        f"After {times} iterations {count} photographs have come to so many end points: "
        + each("{}", lambda loop: loop.ends)
        + ".",
        "The last iteration moves an image, in % of N, by "
        + each("{:.1f}", lambda loop: 100 * loop.steps[-1])
        + "; images that stand still: "
        + each("{:.0%}", lambda loop: loop.still)
        + ".",
        "The mean distance between two images, N for photographs, has become "
        + each("{:.2f} N", lambda loop: loop.diversity[-1])
        + ".",
        "From the first reconstruction to the last, the distance to the photograph, in units of N, "
        "goes: "
        + each("{:.2f} to {:.2f}", lambda loop: loop.errors[1], lambda loop: loop.errors[-1])
        + ".",
    ]


def _figures(loops: Mapping[str, _Loop]) -> list[Figure]:
    farthest = max(loops, key=lambda label: loops[label].errors[-1])
    shown = loops[farthest].shown
    photographs = shown[0]
    ends = {label: loop.shown[max(loop.shown)] for label, loop in loops.items()}
    return [
        *_charts(loops),
        image_rows(
            {"photograph" if k == 0 else f"iteration {k}": shown[k] for k in shown},
            title=f"Encoded and decoded again and again: {farthest}",
            caption="Where the loop leads farthest from the photographs.",
        ),
        image_rows(
            {"photograph": photographs} | ends,
            title=f"After {max(shown)} iterations",
            caption="What each layer's loop has made of the photographs.",
        ),
    ]


def _charts(loops: Mapping[str, _Loop]) -> list[Figure]:
    """Three for each kind of inverter, of as many layers as can be told apart."""
    charts = []
    times = len(next(iter(loops.values())).steps)
    ticks = [str(k) if k % max(1, times // 4) == 0 else "" for k in range(times + 1)]
    for own in dict.fromkeys(loop.kind for loop in loops.values()):
        chosen = {label: loop for label, loop in loops.items() if loop.kind == own}
        chosen = dict(list(chosen.items())[:MAX_ORDERED])
        for title, caption, y, values in (
            (
                "How far an iteration moves an image",
                "Fixed points would not move.",
                "step, in units of N",
                {label: enumerate(loop.steps, 1) for label, loop in chosen.items()},
            ),
            (
                "How far from the photograph",
                "The first iteration's is the reconstruction error.",
                "distance to the photograph, in units of N",
                {label: enumerate(loop.errors) for label, loop in chosen.items()},
            ),
            (
                "How different the images stay",
                "At 0 all photographs would have become one image.",
                "mean distance of two images, in units of N",
                {label: enumerate(loop.diversity) for label, loop in chosen.items()},
            ),
        ):
            charts.append(
                line_chart(
                    {label: list(points) for label, points in values.items()},
                    title=f"{title}: {own}",
                    caption=caption,
                    x="iteration",
                    y=y,
                    ticks=ticks,
                    ordered=True,
                )
            )
    return charts
