"""The same photographs down every layer of a network (sections 5.1 to 5.3 of the paper).

What is rebuilt from a layer shows what it keeps. An autoencoder's encoder is trained for that very
purpose: the distance to it is what the network's own task made it throw away.
"""

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.result import Result
from tfinvert.analysis.scores import scores
from tfinvert.inverter import Inverter
from tfinvert.reporting import plots
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

NETWORK, MEAN = "inversion network", "mean image"
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
    """
    scale = metrics.mean_pairwise_distance(images)
    size = images.shape[1:3]
    few = evenly(len(images), gradient_images) if gradient_images else np.arange(len(images))
    shown = few[evenly(len(few), _SHOWN)]
    mean = np.broadcast_to(images.mean(0), images.shape)
    baseline = {"images": len(images)} | scores(images, mean, scale)
    rows, pictures = [], {}
    for name, inverter in inverters.items():
        rebuilt = resize_images(inverter.reconstruct(images), size)
        facts = {"layer": _layer(inverter), "method": _method(inverter), "inverter": name}
        made = {
            "steps": inverter.card.get("steps"),
            "minutes": inverter.card.get("training_minutes"),
        }
        row = {"images": len(images)} | scores(images, rebuilt, scale)
        rows.append(facts | row | made)
        pictures.setdefault(_method(inverter), {})[_layer(inverter)] = rebuilt[shown]
    for name, inverter in _unique(inverters) if gradient_images else ():
        feature = inverter.feature
        xla = feature.model is None  # XLA cannot resize as the models' preprocessing does
        method = GradientInversion(feature, steps=gradient_steps, seed=seed, xla=xla)
        rebuilt = method.invert(inverter.encode(images[few]))
        row = {"images": len(few)} | scores(images[few], rebuilt, scale)
        facts = {"layer": _layer(inverter), "method": "gradient-based inversion", "inverter": name}
        rows.append(facts | row | {"steps": gradient_steps, "minutes": None})
        found = rebuilt[np.searchsorted(few, shown)]
        pictures.setdefault("gradient-based inversion", {})[_layer(inverter)] = found
    order = list(dict.fromkeys(_layer(inverter) for inverter in inverters.values()))
    rows.sort(key=lambda row: order.index(row["layer"]))
    figures = [_chart(rows, order, baseline["normalised error"])]
    for method, own in pictures.items():
        caption = f"Photographs, and what comes back from each layer by {method}."
        grid = image_grid({"original": images[shown], **own}, scale=max(1, 128 // size[1]))
        figures.append(Figure(f"Down the layers: {method}", caption, image=grid))
    nothing = {"steps": None, "minutes": None}
    rows.append({"layer": "none", "method": MEAN, "inverter": ""} | baseline | nothing)
    return Result(
        "What each layer keeps",
        f"{len(images)} photographs, scored at {size[0]}×{size[1]} pixels, N = {scale:.2f}. Lower "
        "is better but for PSNR and SSIM.",
        _findings(rows, order),
        rows,
        figures,
    )


def _layer(inverter: Inverter) -> str:
    return inverter.feature.name.rpartition("/")[2]


def _method(inverter: Inverter) -> str:
    if not inverter.card.get("train_encoder"):
        return NETWORK
    scratch = inverter.feature.get_config().get("weights") == "random"
    return "autoencoder from scratch" if scratch else "autoencoder"


def _unique(inverters: dict[str, Inverter]) -> list[tuple[str, Inverter]]:
    """The first inverter of each layer of the network itself."""
    first = {}
    for name, inverter in inverters.items():
        if _method(inverter) == NETWORK and inverter.feature.differentiable:
            first.setdefault(_layer(inverter), (name, inverter))
    return list(first.values())


def _chart(rows: list[dict], order: list[str], mean: float) -> Figure:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        point = (order.index(row["layer"]), row["normalised error"])
        lines.setdefault(row["method"], []).append(point)
    lines[MEAN] = [(0, mean), (len(order) - 1, mean)]
    svg = plots.line_chart(lines, x="layer", y="normalised reconstruction error", ticks=order)
    return Figure("Error by layer", "The mean of the photographs ignores its input.", svg=svg)


def _findings(rows: list[dict], order: list[str]) -> list[str]:
    errors: dict[str, dict[str, float]] = {}
    for row in rows:
        errors.setdefault(row["method"], {})[row["layer"]] = row["normalised error"]
    ours = errors.get(NETWORK, {})
    found = []
    if len(ours) > 1:
        falls = [
            b
            for a, b in zip(order, order[1:], strict=False)
            if {a, b} <= {*ours} and ours[b] < ours[a]
        ]
        first, last = next(iter(ours)), list(ours)[-1]
        found.append(
            f"The error goes from {ours[first]:.3f} at {first} to {ours[last]:.3f} at {last}"
            + (f"; it falls at {', '.join(falls)}." if falls else ", and rises at every layer.")
        )
    for method, own in errors.items():
        both = [layer for layer in order if layer in own and layer in ours]
        if method in (NETWORK, MEAN) or not both:
            continue
        better = [layer for layer in both if ours[layer] < own[layer]]
        gap = np.mean([own[layer] - ours[layer] for layer in both])
        side = "higher" if gap > 0 else "lower"
        found.append(
            f"The inversion network is better than the {method} at {len(better)} of {len(both)} "
            f"layers; on average the latter's error is {abs(gap):.3f} {side}."
        )
    return found
