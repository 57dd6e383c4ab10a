"""Which part of a feature carries the image: features perturbed before they are inverted.

Section 5 of the paper. Nothing is trained again, so a reconstruction that survives says that the
network hardly used what was taken away: the magnitudes, half of the entries, the small ones.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.inverters import inverter_kind, inverter_labels, layer_name
from tfinvert.analysis.perturbations import (
    PLAIN,
    STRUCTURAL,
    PerturbationLoss,
    make_perturbations,
    noise_name,
)
from tfinvert.analysis.result import (
    Result,
    add_labels,
    format_rows,
    inverter_columns,
    mean_columns,
    standard_error,
)
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.charts import MAX_LINES
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

LEVELS = (0.1, 0.25, 0.5, 1.0)
SHARE, SHARE_SE = "share lost", "standard error of the share"
RISE, RISE_SE = "rise", "standard error of the rise"
_SHOWN, _DRAWN = 8, 4
_LOST = "{label} {share lost:.1%} ± {standard error of the share:.1%}"


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for probabilities, and for what is no layer of a network."""
    feature = inverter.feature
    if feature.log_floor:
        raise InputError(
            f"perturb takes activations, and {name} is of {feature.name}, which must sum to one; "
            "see the experiment probabilities"
        )
    if feature.model is None:
        raise InputError(
            f"perturb takes inverters of a network's layers. Received: {name}, of {feature.name}"
        )


def perturb(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    repeats: int = 3,
    levels: tuple[float, ...] = LEVELS,
) -> Result:
    """Inverts perturbed features and measures how much of the reconstruction is lost.

    Reconstructions are resized to the images' size and compared there; N is of these images.

    Args:
      seed: of dropout and noise; all inverters and perturbations get the same draws.
      repeats: draws of each random perturbation.
      levels: of the noise, by the L2 norm of each image's feature.

    Raises:
      InputError: `check` refuses an inverter, there are no draws, or the images are all the same.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    if repeats < 1:
        raise InputError(f"repeats must be at least 1. Received: {repeats}")
    scale = metrics.mean_pairwise_distance(images)
    mean = np.broadcast_to(images.mean(0), images.shape)
    mean_itself = metrics.normalized_error(images, mean, scale)
    nothing = metrics.per_image_distance(images, mean) / scale
    # Those of one layer beside each other; of fc6 and its autoencoder pictures are shown first.
    order = [layer_name(inverter) for inverter in inverters.values()]
    inverters = dict(sorted(inverters.items(), key=lambda item: order.index(layer_name(item[1]))))
    drawn = sorted(inverters, key=lambda name: layer_name(inverters[name]) != "fc6")[:_DRAWN]
    names = inverter_labels(inverters)
    changes = make_perturbations(levels)
    chosen = evenly_spaced_indices(len(images), _SHOWN)
    rows, losses, pictures = [], [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "perturb", leave=False):
        features = inverter.encode(images)
        errors: dict[str, np.ndarray] = {}
        shown = {"original": images[chosen]}
        for label, perturbation in changes.items():
            draws = []
            for i in range(repeats if perturbation.random else 1):
                changed = perturbation.apply(features, np.random.default_rng([seed, i]))
                rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
                draws.append(metrics.per_image_distance(images, rebuilt) / scale)
                if i == 0:
                    shown[label] = rebuilt[chosen]
            errors[label] = np.stack(draws)
        plain = errors[PLAIN].mean(0)
        rises = {label: error.mean(0) - plain for label, error in errors.items()}
        loss = PerturbationLoss(
            names[name], layer_name(inverter), inverter_kind(inverter), nothing - plain, rises
        )
        losses.append(loss)
        for label, perturbation in changes.items():
            draws = errors[label].mean(1)
            share = loss.lost(label) if loss.gains else (None, None)
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "perturbation": label,
                    "noise level": perturbation.level,
                    "normalised error": float(errors[label].mean()),
                    **mean_columns((RISE, RISE_SE), rises[label]),
                    **dict(zip((SHARE, SHARE_SE), share, strict=True)),
                    "draws": len(draws),
                    "standard error over draws": standard_error(draws) if len(draws) > 1 else None,
                }
            )
        if name in drawn:
            pictures[name] = image_rows(
                shown,
                title=f"Rebuilt from perturbed features: {names[name]}",
                caption="Photographs, and what is rebuilt from their features as they are, from "
                "parts of them, and with noise of so many times their norm added.",
            )
    table = pd.DataFrame(add_labels(rows, inverters)).dropna(subset=[SHARE])
    return Result(
        "Which part of a feature carries the image",
        f"{len(images)} photographs, compared at {images.shape[1]}×{images.shape[2]} pixels. Each "
        "photograph's feature keeps its norm unless it is given noise; random perturbations are "
        f"drawn {repeats} times. The share that is lost is of what the feature gives over the "
        f"mean of these photographs, whose normalised error is {mean_itself:.3f}. Standard errors "
        "are over images, of the mean over draws.",
        _findings(table, levels),
        rows,
        [*_charts(table), *(pictures[name] for name in drawn)],
        claims.perturb(losses),
    )


def _findings(table: pd.DataFrame, levels: Sequence[float]) -> list[str]:
    """Of a table of what gives something that can be lost."""
    if table.empty:
        return ["No feature gives anything over the mean of these photographs that could be lost."]
    told = [*STRUCTURAL, *([noise_name(max(levels))] if levels else [])]
    return [
        f"Share of what the feature gives that is lost, {each}: "
        f"{format_rows(table[table['perturbation'] == each], _LOST)}."
        for each in told
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    """Charts of all inverters that a chart can hold, else of each kind's first ones."""
    if table.empty:
        return []
    ordered = table["label"].nunique() > MAX_LINES
    groups = table.groupby("kind", sort=False) if ordered else [("", table)]
    figures = []
    for kind_of, own in groups:
        suffix = f", {kind_of}" if kind_of else ""
        parts = own[own["perturbation"].isin(STRUCTURAL)]
        figures.append(
            charts.table_dot_chart(
                parts.assign(**{column: 100 * parts[column] for column in (SHARE, SHARE_SE)}),
                SHARE,
                SHARE_SE,
                item="perturbation",
                series="label",
                title=f"What is lost with a part of the feature{suffix}",
                caption="Of what the feature gives over the mean of the photographs: at 100 % "
                "nothing of it is left. With standard errors over images.",
                x="share lost (%)",
                ordered=ordered,
            )
        )
        if own["noise level"].notna().any():
            figures.append(
                charts.table_line_chart(
                    own.sort_values("noise level", kind="stable"),
                    "noise level",
                    RISE,
                    RISE_SE,
                    caption="Gaussian noise on every entry, also on those that are zero. With "
                    "standard errors over images.",
                    title=f"Error by noise in the feature{suffix}",
                    x="noise, by the feature's norm",
                    y="rise of the normalised error",
                    floor=None,
                    ordered=ordered,
                )
            )
    return figures
