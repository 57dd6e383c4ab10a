"""The same photographs down every layer of a network (sections 5.1 to 5.3 of the paper).

What is rebuilt from a layer shows what it keeps. An autoencoder's encoder is trained for that very
purpose: the distance to it is what the network's own task made it throw away.
"""

from typing import Any

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.result import Result
from tfinvert.analysis.scores import scores
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import plots
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

NETWORK, MEAN = "inversion network", "mean image"
GRADIENT = "gradient-based inversion"
_SHOWN = 6


def layers(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    gradient_images: int = 64,
    gradient_steps: int = 400,
    seed: int = 0,
) -> Result:
    """Scores each inverter, autoencoder and, if asked, gradient-based inversion.

    All reconstructions are resized to the images' size and scored there.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      gradient_images: at most so many, evenly spaced, for gradient-based inversion; 0 leaves it
        out.
      gradient_steps: of that method.
      seed: of its initial noise.

    Raises:
      InputError: two of the inverters are of one layer and one kind.
    """
    _check_unlike(inverters)
    scale = metrics.mean_pairwise_distance(images)
    size = images.shape[1:3]
    few = evenly(len(images), gradient_images) if gradient_images else np.arange(len(images))
    shown = few[evenly(len(few), _SHOWN)]
    rows, compared, pictures = [], {}, {}

    def add(name: str, method: str, rebuilt: np.ndarray, chosen: np.ndarray, **made: Any) -> None:
        rebuilt = resize_images(rebuilt, size)
        facts = {"layer": _layer(inverters[name]), "method": method, "inverter": name}
        scored = scores(images[chosen], rebuilt, scale)
        rows.append(facts | {"images": len(chosen)} | scored | made)
        own = pictures.setdefault(method, {})
        own[_layer(inverters[name])] = rebuilt[np.searchsorted(chosen, shown)]

    every = np.arange(len(images))
    for name, inverter in inverters.items():
        card = inverter.card
        made = {"steps": card.get("steps"), "minutes": card.get("training_minutes")}
        rebuilt = inverter.reconstruct(images)
        add(name, _method(inverter), rebuilt, every, **made)
        if _method(inverter) == NETWORK and inverter.feature.differentiable and gradient_images:
            method = GradientInversion(inverter.feature, steps=gradient_steps, seed=seed)
            found = method.invert(inverter.encode(images[few]))
            made = {"steps": gradient_steps, "minutes": None}
            add(name, GRADIENT, found, few, **made)
            ours = resize_images(rebuilt[few], size)
            compared[name] = metrics.normalized_error(images[few], ours, scale)
    mean = scores(images, np.broadcast_to(images.mean(0), images.shape), scale)
    order = list(dict.fromkeys(_layer(inverter) for inverter in inverters.values()))
    methods = list(pictures)
    rows.sort(key=lambda row: (order.index(row["layer"]), methods.index(row["method"])))
    figures = [_chart(rows, order, mean["normalised error"])]
    for method, own in pictures.items():
        caption = f"Photographs, and what comes back from each layer by {method}."
        grid = image_grid({"original": images[shown], **own}, scale=max(1, 128 // size[1]))
        figures.append(Figure(f"Down the layers: {method}", caption, image=grid))
    nothing = {"layer": "none", "method": MEAN, "inverter": "", "images": len(images)}
    findings = _findings(rows, order, compared)
    rows.append(nothing | mean | {"steps": None, "minutes": None})
    return Result(
        "What each layer keeps",
        f"{len(images)} photographs, scored at {size[0]}×{size[1]} pixels, N = {scale:.2f}. Lower "
        "is better but for PSNR and SSIM.",
        findings,
        rows,
        figures,
    )


def _check_unlike(inverters: dict[str, Inverter]) -> None:
    first: dict[tuple[str, str], str] = {}
    for name, inverter in inverters.items():
        other = first.setdefault((_method(inverter), _layer(inverter)), name)
        if other != name:
            raise InputError(
                f"{other} and {name} are both the {_method(inverter)} of {_layer(inverter)}; give "
                "one of them"
            )


def _layer(inverter: Inverter) -> str:
    return inverter.feature.name.rpartition("/")[2]


def _method(inverter: Inverter) -> str:
    if not inverter.card.get("train_encoder"):
        return NETWORK
    scratch = inverter.feature.get_config().get("weights") == "random"
    return "autoencoder from scratch" if scratch else "autoencoder"


def _chart(rows: list[dict], order: list[str], mean: float) -> Figure:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        point = (order.index(row["layer"]), row["normalised error"])
        lines.setdefault(row["method"], []).append(point)
    lines[MEAN] = [(0, mean), (len(order) - 1, mean)]
    svg = plots.line_chart(lines, x="layer", y="normalised reconstruction error", ticks=order)
    return Figure("Error by layer", "The mean of the photographs ignores its input.", svg=svg)


def _findings(rows: list[dict], order: list[str], compared: dict[str, float]) -> list[str]:
    """`compared` has the network's error on the images of gradient-based inversion."""
    errors: dict[str, dict[str, float]] = {}
    for row in rows:
        errors.setdefault(row["method"], {})[row["layer"]] = row["normalised error"]
    ours = errors.pop(NETWORK, {})
    found = []
    if len(ours) > 1:
        known = [layer for layer in order if layer in ours]
        steps = zip(known, known[1:], strict=False)
        falls = [after for before, after in steps if ours[after] < ours[before]]
        found.append(
            f"The error goes from {ours[known[0]]:.3f} at {known[0]} to {ours[known[-1]]:.3f} at "
            f"{known[-1]}"
            + (f"; it falls at {', '.join(falls)}." if falls else ", and rises at every layer.")
        )
    same = {
        row["layer"]: compared.get(row["inverter"]) for row in rows if row["method"] == GRADIENT
    }
    for method, own in errors.items():
        reference = same if method == GRADIENT else ours
        gaps = {x: own[x] - reference[x] for x in order if x in own and x in reference}
        if not gaps:
            continue
        better = sum(gap > 0 for gap in gaps.values())
        gap = np.mean(list(gaps.values()))
        found.append(
            f"The inversion network is better than the {method} at {better} of {len(gaps)} "
            f"layers; on average the latter's error is {abs(gap):.3f} "
            f"{'higher' if gap > 0 else 'lower'}."
        )
    return found
