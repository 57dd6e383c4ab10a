"""Loss of reconstruction quality with features binarised, half dropped, half zeroed or noisy.

Section 5 of the paper. Inverters are not retrained, so a reconstruction that survives shows that
the network hardly used what was removed: the magnitudes, half of the entries, or the small ones.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_kind,
    inverter_labels,
    layer_name,
    shipped_alexnet,
)
from tfinvert.analysis.perturbations import (
    PLAIN,
    STRUCTURAL,
    PerturbationLoss,
    make_perturbations,
    noise_name,
)
from tfinvert.analysis.scores import mean_columns, standard_error
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.charts import MAX_LINES
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

NOISE_LEVELS = (0.1, 0.25, 0.5, 1.0)
_PICTURES, _PICTURED_INVERTERS = 8, 4


def check(name: str, inverter: Inverter) -> None:
    """Checks that the inverter is of a network's activations, and not of probabilities.

    Raises:
      InputError: it is not.
    """
    feature = inverter.feature
    if feature.log_floor:
        raise InputError(
            "perturb takes activations, not probabilities, which must sum to one; see the "
            f"experiment probabilities. Received: {name}, of {feature.name}"
        )
    if feature.model is None:
        raise InputError(
            f"perturb takes inverters of network layers. Received: {name}, of {feature.name}"
        )


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    repeats: int = 3,
    levels: Sequence[float] = NOISE_LEVELS,
) -> Measurement:
    """Inverts perturbed features and measures how much reconstruction quality is lost.

    Reconstructions are resized to the size of the images and compared there; N, the mean distance
    between two images, is that of these images.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      seed: random seed of dropout and noise; all inverters and perturbations get the same draws.
      repeats: draws of each random perturbation, at least 1.
      levels: norms of the noise, relative to the L2 norm of each image's feature.

    Raises:
      InputError: there are no draws, or the images are all equal.
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1. Received: {repeats}")
    scale = metrics.mean_pairwise_distance(images)
    mean = np.broadcast_to(images.mean(0), images.shape)
    mean_image_error = metrics.normalized_error(images, mean, scale)
    mean_image_errors = metrics.per_image_distance(images, mean) / scale
    # Inverters of one layer beside each other; pictures of fc6 and its autoencoder come first.
    order = [layer_name(inverter) for inverter in inverters.values()]
    inverters = dict(sorted(inverters.items(), key=lambda item: order.index(layer_name(item[1]))))
    fc6_first = sorted(inverters, key=lambda name: layer_name(inverters[name]) != "fc6")
    labels, perturbations = inverter_labels(inverters), make_perturbations(levels)
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, losses, pictures = [], [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "perturb", leave=False):
        features = inverter.encode(images)
        errors: dict[str, np.ndarray] = {}
        pictures[name] = {"original": images[chosen]}
        for key, perturbation in perturbations.items():
            draws = []
            for i in range(repeats if perturbation.random else 1):
                changed = perturbation.apply(features, np.random.default_rng([seed, i]))
                rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
                draws.append(metrics.per_image_distance(images, rebuilt) / scale)
                if i == 0:
                    pictures[name][key] = rebuilt[chosen]
            errors[key] = np.stack(draws)
        plain = errors[PLAIN].mean(0)
        loss = PerturbationLoss(
            labels[name],
            layer_name(inverter),
            inverter_kind(inverter),
            mean_image_errors - plain,
            {key: error.mean(0) - plain for key, error in errors.items()},
        )
        losses.append(loss)
        for key, perturbation in perturbations.items():
            draws = errors[key].mean(1)
            share = loss.share_lost(key) if loss.is_informative else (None, None)
            rows.append(
                {
                    **inverter_columns(name, inverter),
                    "perturbation": key,
                    "noise_level": perturbation.level,
                    "normalized_error": float(errors[key].mean()),
                    **mean_columns("error_rise", loss.rises[key]),
                    **dict(zip(("share_lost", "share_lost_se"), share, strict=True)),
                    "draws": len(draws),
                    "draws_se": standard_error(draws) if len(draws) > 1 else None,
                }
            )
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "losses": losses,
            "pictures": {labels[name]: pictures[name] for name in fc6_first[:_PICTURED_INVERTERS]},
        },
        {
            "images": len(images),
            "size": images.shape[1:3],
            "repeats": repeats,
            "levels": levels,
            "mean_image_error": mean_image_error,
        },
    )


def present(measurement: Measurement) -> Presentation:
    """Presents shares lost by perturbation, errors by noise, and reconstructions."""
    facts, (height, width) = measurement.facts, measurement.facts["size"]
    informative = measurement.table.dropna(subset=["share_lost"])
    return Presentation(
        "Reconstruction from perturbed features",
        f"{facts['images']} photographs, compared at {height}×{width} pixels. Perturbations keep "
        "the norm of each photograph's feature, except for noise; random perturbations are drawn "
        f"{facts['repeats']} times. The share lost is relative to what the feature gains over the "
        "mean of these photographs, whose normalised error is "
        f"{facts['mean_image_error']:.3f}. Standard errors are over images, of means over draws.",
        _findings(informative, facts["levels"]),
        [
            *_charts(informative),
            *(
                image_rows(
                    pictures,
                    title=f"Rebuilt from perturbed features: {label}",
                    caption="Photographs, and reconstructions from their features unchanged, in "
                    "part, and with added noise, whose level is relative to the feature's norm.",
                )
                for label, pictures in measurement.arrays["pictures"].items()
            ),
        ],
    )


def _findings(table: pd.DataFrame, levels: Sequence[float]) -> list[str]:
    if table.empty:
        return ["No reconstruction is better than the mean of these photographs: no share lost."]
    shown = [*STRUCTURAL, *([noise_name(max(levels))] if levels else [])]
    template = "{label} {share_lost:.1%} ± {share_lost_se:.1%}"
    return [
        f"Share of the gain over the mean image that is lost, {each}: "
        f"{format_rows(table[table['perturbation'] == each], template)}."
        for each in shown
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    """Charts of all inverters that a chart can hold, else of the first ones of each kind."""
    if table.empty:
        return []
    ordered = table["label"].nunique() > MAX_LINES
    groups = table.groupby("kind", sort=False) if ordered else [("", table)]
    figures = []
    for kind, own in groups:
        suffix = f", {kind}" if kind else ""
        structural = own[own["perturbation"].isin(STRUCTURAL)]
        percent = {column: 100 * structural[column] for column in ("share_lost", "share_lost_se")}
        figures.append(
            charts.table_dot_chart(
                structural.assign(**percent),
                "share_lost",
                "share_lost_se",
                item="perturbation",
                series="label",
                title=f"Share lost by perturbation{suffix}",
                caption="Share of the gain over the mean of the photographs: at 100 % nothing of "
                "it is left. With standard errors over images.",
                x="share lost (%)",
                ordered=ordered,
            )
        )
        if own["noise_level"].notna().any():
            figures.append(
                charts.table_line_chart(
                    own.sort_values("noise_level", kind="stable"),
                    "noise_level",
                    "error_rise",
                    "error_rise_se",
                    caption="Gaussian noise on every entry, including those that are zero. With "
                    "standard errors over images.",
                    title=f"Error by noise in the feature{suffix}",
                    x="norm of the noise, relative to the feature's norm",
                    y="rise of the normalised error",
                    floor=None,
                    ordered=ordered,
                )
            )
    return figures


EXPERIMENT = Experiment(
    order=30,
    default_inverters=shipped_alexnet("conv5", "fc6", "fc7", "fc8"),
    measure=measure,
    judge=claims.perturb,
    present=present,
    check=check,
    exhibits=(
        Exhibit(
            60,
            "Binarised and dropped activations",
            "Rebuilt from perturbed features: fc6",
            "The activations of a layer, changed before they are inverted. With binarised "
            "activations, which all have the same magnitude, the image survives; with half of them "
            "dropped it changes far more. Which units are active matters more than how active "
            "they are.",
            "Dropping half",
        ),
    ),
)
