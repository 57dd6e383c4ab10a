"""Inversion networks, autoencoders, gradient-based inversion, and a hybrid of the first and third.

A network returns the average of the images that share a feature, which is near the photograph, and
too blurred to have that feature itself. Gradient-based inversion finds an image that has it, which
need not be near the photograph. The hybrid, which the paper leaves to future work, starts from the
network's image and stays near it.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inversion_methods import (
    HYBRID,
    matching_autoencoders,
    relative_feature_error,
    run_inversion_methods,
)
from tfinvert.analysis.inverters import (
    NETWORK,
    common_size,
    inverter_kind,
    inverter_labels,
    layer_name,
    shipped_alexnet,
)
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.analysis.scores import image_scores, mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_PICTURES = 8


def check(name: str, inverter: Inverter) -> None:
    """Checks that the feature has a derivative.

    Raises:
      InputError: it has none.
    """
    feature = inverter.feature
    if not (feature.in_graph and feature.differentiable):
        raise InputError(
            "compare takes inverters of differentiable features, such as alexnet/fc6 or hog. "
            f"Received: {name}, of {feature.name}"
        )


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    gradient_images: int = 32,
    gradient_steps: int = 300,
    cache: ResultCache = NO_CACHE,
) -> Measurement:
    """Scores inversion networks, their autoencoders, gradient-based inversion and the hybrid.

    All methods invert the same few images. Reconstructions are resized to the size of the images
    and scored there. The feature error is that of the inversion network's feature, also for the
    images of autoencoders, whose own encoders are other representations.

    Args:
      inverters: inversion networks, and autoencoders of their layers, of which the first of each
        kind is taken.
      images: `[n, H, W, 3]` in [0, 1].
      seed: random seed of the noise from which gradient-based inversion starts.
      gradient_images: maximum number of images, evenly subsampled; at least 2.
      gradient_steps: steps of gradient-based inversion and of the hybrid.
      cache: keeps the images of both.

    Raises:
      InputError: an autoencoder has no inversion network of its layer, or there are fewer than two
        images.
    """
    common_size(inverters)
    networks = {name: x for name, x in inverters.items() if inverter_kind(x) == NETWORK}
    _check_autoencoders(inverters, networks)
    few = images[evenly_spaced_indices(len(images), gradient_images)]
    if len(few) < 2:
        raise InputError(f"compare takes at least two images. Received: {len(few)}")
    scale = metrics.mean_pairwise_distance(images)
    labels, shown = inverter_labels(inverters), evenly_spaced_indices(len(few), _PICTURES)
    rows, pictures, feature_errors, image_errors = [], {}, {}, {}
    for name, network in tqdm.tqdm(networks.items(), "compare", leave=False):
        group = {name: network} | matching_autoencoders(inverters, network)
        features, label = network.encode(few), labels[name]
        pictures[label] = {"photograph": few[shown]}
        for inverter, method, found, seconds in run_inversion_methods(
            group, few, features, gradient_steps, seed, cache
        ):
            rebuilt = resize_images(found, few.shape[1:3])
            errors = relative_feature_error(network.encode(rebuilt), features)
            feature_errors[label, method] = errors
            image_errors[label, method] = metrics.per_image_distance(few, rebuilt) / scale
            pictures[label][method] = rebuilt[shown]
            rows.append(
                {
                    "inverter": inverter,
                    "layer": layer_name(network),
                    "method": method,
                    **mean_columns("feature_error", errors),
                    **image_scores(few, rebuilt, scale),
                    "seconds_per_image": seconds,
                    "images": len(few),
                    "label": label,
                }
            )
    return Measurement(
        make_table(rows),
        {"feature_errors": feature_errors, "image_errors": image_errors, "pictures": pictures},
        {"images": len(few), "of_images": len(images), "scale": scale, "steps": gradient_steps},
    )


def _check_autoencoders(
    inverters: Mapping[str, Inverter], networks: Mapping[str, Inverter]
) -> None:
    layers = {network.feature.name for network in networks.values()}
    for name, inverter in inverters.items():
        if inverter.feature.name not in layers:
            raise InputError(
                "compare takes an autoencoder together with the inversion network of its layer; "
                f"add one of {inverter.feature.name}. Received: {name} "
                f"({inverter_kind(inverter)}) without one"
            )


def present(measurement: Measurement) -> Presentation:
    """Presents feature errors, image errors and reconstructions by method."""
    facts, arrays = measurement.facts, measurement.arrays
    return Presentation(
        "Networks, gradient-based inversion, and both combined",
        f"{facts['images']} of {facts['of_images']} photographs, N = {facts['scale']:.2f}. The "
        "hybrid is gradient-based inversion that starts from the inversion network's image and "
        f"stays near it; both take {facts['steps']} steps. The feature error is "
        "‖Φ(x̂) - Φ(x)‖ / ‖Φ(x)‖, where Φ is the feature that the inversion network inverts, also "
        "for the autoencoder's images, whose own encoder is another. Lower is better, except for "
        "PSNR and SSIM; ± is a standard error.",
        [_finding(label, x) for label, x in measurement.table.groupby("label", sort=False)],
        [
            _chart(arrays["feature_errors"], "relative feature error", "Feature error by method"),
            _chart(arrays["image_errors"], "normalised image error", "Image error by method"),
            *(
                image_rows(
                    pictures,
                    title=f"Inversion methods on {label}",
                    caption="Photographs, and the images that each method finds for their "
                    "features. The hybrid starts from the inversion network's image.",
                )
                for label, pictures in arrays["pictures"].items()
            ),
        ],
    )


def _finding(label: str, table: pd.DataFrame) -> str:
    seconds = table.set_index("method")["seconds_per_image"]
    template = "{method} {feature_error:.3f} and {normalized_error:.3f}"
    return (
        f"{label}, feature error and image error: {format_rows(table, template, '; ')}. An image "
        f"of the network takes {1000 * seconds[NETWORK]:.1f} ms, one of the hybrid "
        f"{seconds[HYBRID]:.1f} s."
    )


def _chart(errors: Mapping[tuple[str, str], np.ndarray], x: str, title: str) -> Figure:
    return charts.table_dot_chart(
        [
            {"label": label, "method": method} | mean_columns("mean", values)
            for (label, method), values in errors.items()
        ],
        "mean",
        "mean_se",
        series="method",
        title=title,
        caption="Mean and standard error over the photographs; lower is better.",
        x=x,
    )


EXPERIMENT = Experiment(
    order=120,
    default_inverters=shipped_alexnet("conv5", "fc6"),
    measure=measure,
    judge=claims.compare,
    present=present,
    check=check,
    changes_photographs=True,
)
