"""The same photographs down every layer of a network (sections 5.1 to 5.3 of the paper).

What is rebuilt from a layer shows what it keeps. An autoencoder's encoder is trained for that very
purpose: the distance to it is what the network's own task made it throw away.
"""

import functools
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.inversion_methods import GRADIENT, invert_by_gradient
from tfinvert.analysis.inverters import NETWORK, inverter_kind, layer_name
from tfinvert.analysis.result import Result
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.analysis.scores import CELLS, COARSE, coarse_r2, downscale_coarsely, image_scores
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

MEAN = "mean image"
_SHOWN = 6


def layers(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    gradient_images: int = 64,
    gradient_steps: int = 400,
    seed: int = 0,
    parts: ResultCache = NO_CACHE,
) -> Result:
    """Scores each inverter, autoencoder and, if asked, gradient-based inversion.

    All reconstructions are resized to the images' size and scored there.

    Args:
      gradient_images: at most so many, evenly spaced, for gradient-based inversion; 0 leaves it
        out.
      gradient_steps: of that method.

    Raises:
      InputError: two of the inverters are of one layer and one kind.
    """
    _check_unlike(inverters)
    scale = metrics.mean_pairwise_distance(images)
    middle, size, every = (
        downscale_coarsely(images).mean(0),
        images.shape[1:3],
        np.arange(len(images)),
    )
    few = evenly_spaced_indices(len(images), gradient_images) if gradient_images else every
    shown = few[evenly_spaced_indices(len(few), _SHOWN)]
    rows, compared, pictures = [], {}, {}

    def add(name: str, method: str, rebuilt: np.ndarray, chosen: np.ndarray, **made: Any) -> None:
        rebuilt = resize_images(rebuilt, size)
        facts = {"layer": layer_name(inverters[name]), "method": method, "inverter": name}
        scored = image_scores(images[chosen], rebuilt, scale)
        kept = {COARSE: coarse_r2(images[chosen], rebuilt, middle)}
        rows.append(facts | {"images": len(chosen)} | scored | kept | made)
        own = pictures.setdefault(method, {})
        own[layer_name(inverters[name])] = rebuilt[np.searchsorted(chosen, shown)]

    for name, inverter in tqdm.tqdm(inverters.items(), "layers", leave=False):
        made = {"steps": inverter.card.get("steps")}
        made["minutes"] = inverter.card.get("training_minutes")
        rebuilt = inverter.reconstruct(images)
        add(name, inverter_kind(inverter), rebuilt, every, **made)
        if (
            inverter_kind(inverter) == NETWORK
            and inverter.feature.differentiable
            and gradient_images
        ):
            features = inverter.encode(images[few])
            search = functools.partial(
                invert_by_gradient, inverter.feature, features, steps=gradient_steps, seed=seed
            )
            found = parts(f"layers/{name}-gradient", search)
            made = {"steps": gradient_steps, "minutes": float(found["seconds"]) / 60}
            add(name, GRADIENT, found["images"], few, **made)
            ours = resize_images(rebuilt[few], size)
            compared[name] = metrics.normalized_error(images[few], ours, scale)
    mean = image_scores(images, np.broadcast_to(images.mean(0), images.shape), scale)
    order = list(dict.fromkeys(layer_name(inverter) for inverter in inverters.values()))
    methods = list(pictures)
    rows.sort(key=lambda row: (order.index(row["layer"]), methods.index(row["method"])))
    figures = [_chart(rows, order, mean["normalised error"])] + [
        image_rows(
            {"original": images[shown], **own},
            title=f"Down the layers: {method}",
            caption=f"Photographs, and what comes back from each layer by {method}.",
        )
        for method, own in pictures.items()
    ]
    nothing = {"layer": "none", "method": MEAN, "inverter": "", "images": len(images)}
    findings = _findings(rows, order, compared)
    rows.append(nothing | mean | {COARSE: 0.0, "steps": None, "minutes": None})
    return Result(
        "What each layer keeps",
        f"{len(images)} photographs, scored at {size[0]}×{size[1]} pixels, N = {scale:.2f}. Lower "
        f"is better but for PSNR and SSIM. {COARSE.capitalize()}: of images reduced to "
        f"{CELLS}×{CELLS} pixels, the part of their variance that reconstructions explain: rough "
        "colours in rough places.",
        findings,
        rows,
        figures,
        claims.layers(rows, compared),
    )


def _check_unlike(inverters: dict[str, Inverter]) -> None:
    first: dict[tuple[str, str], str] = {}
    for name, inverter in inverters.items():
        other = first.setdefault((inverter_kind(inverter), layer_name(inverter)), name)
        if other != name:
            raise InputError(
                f"{other} and {name} are both the {inverter_kind(inverter)} of {layer_name(inverter)}; give "
                "one of them"
            )


def _chart(rows: list[dict], order: list[str], mean: float) -> Figure:
    table = [row | {"depth": order.index(row["layer"])} for row in rows]
    for depth in (0, len(order) - 1):
        table.append({"method": MEAN, "depth": depth, "normalised error": mean})
    return charts.table_line_chart(
        table,
        "depth",
        "normalised error",
        series="method",
        title="Error by layer",
        caption="The mean of the photographs ignores its input.",
        x="layer",
        y="normalised reconstruction error",
        ticks=order,
        ordered=False,
    )


def _findings(rows: list[dict], order: list[str], compared: dict[str, float]) -> list[str]:
    """`compared` has the network's error on the images of gradient-based inversion."""
    table = pd.DataFrame(rows).set_index("layer")
    errors = {
        method: own["normalised error"].reindex(order).dropna()
        for method, own in table.groupby("method", sort=False)
    }
    ours = errors.pop(NETWORK, pd.Series(dtype=float))
    same = table["inverter"].map(compared)[table["method"] == GRADIENT]
    found = []
    if len(ours) > 1:
        falls = ", ".join(ours.index[ours.diff() < 0])
        found.append(
            f"The error goes from {ours.iloc[0]:.3f} at {ours.index[0]} to {ours.iloc[-1]:.3f} at "
            f"{ours.index[-1]}"
            + (f"; it falls at {falls}." if falls else ", and rises at every layer.")
        )
    for method, own in errors.items():
        gaps = (own - (same if method == GRADIENT else ours)).dropna()
        if len(gaps):
            found.append(
                f"The inversion network is better than the {method} at {sum(gaps > 0)} of "
                f"{len(gaps)} layers; on average the latter's error is {abs(gaps.mean()):.3f} "
                f"{'higher' if gaps.mean() > 0 else 'lower'}."
            )
    return found
