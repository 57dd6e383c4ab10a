"""Reconstruction error by layer, beside gradient-based inversion and autoencoders.

Sections 5.1 to 5.3 of the paper. A reconstruction shows what a layer keeps. The encoder of an
autoencoder is trained to keep the image: the difference to it is what the network discards for the
sake of its own task.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inversion_methods import GRADIENT, invert_by_gradient
from tfinvert.analysis.inverters import NETWORK, inverter_kind, layer_name, shipped_alexnet
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.analysis.scores import COARSE_SIZE, coarse_r2, downscale_coarsely, image_scores
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

MEAN = "mean image"
_PICTURES = 6


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    gradient_images: int = 64,
    gradient_steps: int = 400,
    seed: int = 0,
    cache: ResultCache = NO_CACHE,
) -> Measurement:
    """Scores inverters, autoencoders and gradient-based inversion.

    Reconstructions are resized to the size of the images and scored there.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      gradient_images: maximum number of images for gradient-based inversion, evenly subsampled; 0
        omits it.
      gradient_steps: steps of gradient-based inversion.
      seed: random seed of the noise from which gradient-based inversion starts.
      cache: keeps the images of gradient-based inversion.

    Raises:
      InputError: two of the inverters are of one layer and one kind.
    """
    _check_distinct(inverters)
    scale = metrics.mean_pairwise_distance(images)
    mean, size = downscale_coarsely(images).mean(0), images.shape[1:3]
    every = np.arange(len(images))
    few = evenly_spaced_indices(len(images), gradient_images) if gradient_images else every
    shown = few[evenly_spaced_indices(len(few), _PICTURES)]
    rows, network_errors, pictures = [], {}, {}

    def add(name: str, method: str, rebuilt: np.ndarray, chosen: np.ndarray, **made: Any) -> None:
        rebuilt, layer = resize_images(rebuilt, size), layer_name(inverters[name])
        rows.append(
            {"layer": layer, "method": method, "inverter": name, "images": len(chosen)}
            | image_scores(images[chosen], rebuilt, scale)
            | {"coarse_r2": coarse_r2(images[chosen], rebuilt, mean)}
            | made
        )
        pictures.setdefault(method, {})[layer] = rebuilt[np.searchsorted(chosen, shown)]

    for name, inverter in tqdm.tqdm(inverters.items(), "layers", leave=False):
        kind, card, rebuilt = inverter_kind(inverter), inverter.card, inverter.reconstruct(images)
        add(
            name,
            kind,
            rebuilt,
            every,
            steps=card.get("steps"),
            minutes=card.get("training_minutes"),
        )
        if kind == NETWORK and inverter.feature.differentiable and gradient_images:
            search = functools.partial(
                invert_by_gradient,
                inverter.feature,
                inverter.encode(images[few]),
                steps=gradient_steps,
                seed=seed,
            )
            found = cache(f"layers/{name}-gradient", search)
            minutes = float(found["seconds"]) / 60
            add(name, GRADIENT, found["images"], few, steps=gradient_steps, minutes=minutes)
            own = resize_images(rebuilt[few], size)
            network_errors[name] = metrics.normalized_error(images[few], own, scale)
    order = list(dict.fromkeys(layer_name(inverter) for inverter in inverters.values()))
    methods = list(pictures)
    rows.sort(key=lambda row: (order.index(row["layer"]), methods.index(row["method"])))
    rows.append(
        {"layer": "none", "method": MEAN, "inverter": "", "images": len(images)}
        | image_scores(images, np.broadcast_to(images.mean(0), images.shape), scale)
        | {"coarse_r2": 0.0, "steps": None, "minutes": None}
    )
    return Measurement(
        make_table(rows),
        {"pictures": {method: {"original": images[shown]} | x for method, x in pictures.items()}},
        {
            "images": len(images),
            "size": size,
            "scale": scale,
            "layers": order,
            "network_errors": network_errors,
        },
    )


def _check_distinct(inverters: dict[str, Inverter]) -> None:
    first: dict[tuple[str, str], str] = {}
    for name, inverter in inverters.items():
        other = first.setdefault((inverter_kind(inverter), layer_name(inverter)), name)
        if other != name:
            raise InputError(
                "layers takes one inverter of each layer and kind; leave out the others. Received: "
                f"{other} and {name}, both the {inverter_kind(inverter)} of {layer_name(inverter)}"
            )


def present(measurement: Measurement) -> Presentation:
    """Presents errors by layer and method, and reconstructions from each layer."""
    facts, table = measurement.facts, measurement.table
    height, width = facts["size"]
    return Presentation(
        "Reconstruction by layer",
        f"{facts['images']} photographs, scored at {height}×{width} pixels, "
        f"N = {facts['scale']:.2f}. Lower is better, except for PSNR, SSIM and coarse R², the part "
        f"of the variance of images reduced to {COARSE_SIZE}×{COARSE_SIZE} pixels that "
        "reconstructions explain: rough colours in rough positions.",
        _findings(table[table["method"] != MEAN], facts["layers"], facts["network_errors"]),
        [
            _chart(table, facts["layers"]),
            *(
                image_rows(
                    pictures,
                    title=f"Down the layers: {method}",
                    caption=f"Photographs, and reconstructions from each layer by {method}.",
                )
                for method, pictures in measurement.arrays["pictures"].items()
            ),
        ],
    )


def _chart(table: pd.DataFrame, order: Sequence[str]) -> Figure:
    mean = table[table["method"] == MEAN]
    table = pd.concat(
        [
            table[table["method"] != MEAN].assign(depth=lambda own: own["layer"].map(order.index)),
            *(mean.assign(depth=depth) for depth in (0, len(order) - 1)),
        ]
    )
    return charts.table_line_chart(
        table,
        "depth",
        "normalized_error",
        series="method",
        title="Error by layer",
        caption="The mean of the photographs ignores its input.",
        x=column_label("layer"),
        y="normalised reconstruction error",
        ticks=order,
        ordered=False,
    )


def _findings(
    table: pd.DataFrame, order: Sequence[str], network_errors: Mapping[str, float]
) -> list[str]:
    """`network_errors` are the networks' errors on the images of gradient-based inversion."""
    table = table.set_index("layer")
    errors = {
        method: own["normalized_error"].reindex(order).dropna()
        for method, own in table.groupby("method", sort=False)
    }
    network = errors.pop(NETWORK, pd.Series(dtype=float))
    on_few = table["inverter"].map(network_errors)[table["method"] == GRADIENT]
    found = []
    if len(network) > 1:
        falls = ", ".join(network.index[network.diff() < 0])
        found.append(
            f"The error goes from {network.iloc[0]:.3f} at {network.index[0]} to "
            f"{network.iloc[-1]:.3f} at {network.index[-1]}"
            + (f"; it falls at {falls}." if falls else ", and rises at every layer.")
        )
    for method, own in errors.items():
        gaps = (own - (on_few if method == GRADIENT else network)).dropna()
        if len(gaps):
            found.append(
                f"The inversion network is better than the {method} at {sum(gaps > 0)} of "
                f"{len(gaps)} layers; on average the latter's error is {abs(gaps.mean()):.3f} "
                f"{'higher' if gaps.mean() > 0 else 'lower'}."
            )
    return found


EXPERIMENT = Experiment(
    order=20,
    default_inverters=shipped_alexnet(),
    measure=measure,
    judge=claims.layers,
    present=present,
    exhibits=(
        Exhibit(
            10,
            "Down the layers",
            "Down the layers: inversion network",
            "Six photographs, and below them their reconstructions from the activations of one "
            "layer alone. Detail is lost first, then shape; in the end rough colours in rough "
            "positions remain, even in the probabilities of the classes.",
            "The error grows",
        ),
        Exhibit(
            20,
            "Gradient-based inversion, without a trained network",
            "Down the layers: gradient-based",
            "Here gradient descent, starting from noise, searches for an image with the same "
            "activations. It has no knowledge of what photographs look like: the deeper the layer, "
            "the less its result resembles one, although it has the activations.",
            "Inversion networks beat",
        ),
        Exhibit(
            30,
            "Autoencoders: layers trained to keep the image",
            "Down the layers: autoencoder",
            "In an autoencoder the layers themselves were trained to keep the image. What is "
            "reconstructed here and not above is what the layers could have kept, and discard to "
            "tell classes apart.",
            "Autoencoders of the high",
        ),
    ),
)
