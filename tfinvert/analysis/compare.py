"""Inversion networks, gradient-based inversion and both combined, in image and in feature space.

A network gives the average of the images that share a feature, which is near the photograph, and
too blurred to have that feature itself. Gradient-based inversion finds an image that has it, which
need not be near. Their combination, which the paper leaves to future work, starts the second from
what the first gives and keeps it near.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
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
)
from tfinvert.analysis.result import Result, Row, format_rows, mean_columns
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.analysis.scores import image_scores
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_SHOWN = 8


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` where the feature has no derivative to follow."""
    feature = inverter.feature
    if not (feature.in_graph and feature.differentiable):
        raise InputError(
            "compare takes inverters of features with a derivative, as alexnet/fc6 or hog. "
            f"Received: {name}, of {feature.name}"
        )


def compare(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    gradient_images: int = 32,
    gradient_steps: int = 300,
    parts: ResultCache = NO_CACHE,
) -> Result:
    """Scores inversion networks, their autoencoders, gradient-based inversion and the hybrid.

    All see the same few images. Reconstructions are resized to the images' size and scored there.
    The feature error is that of the feature the inversion network inverts, for the autoencoder's
    images too: its own encoder is another representation.

    Args:
      inverters: inversion networks, and autoencoders of their layers, the first of each kind.
      seed: of the noise that gradient-based inversion starts from.
      gradient_images: at most so many of them, evenly spaced, are inverted; at least two.
      gradient_steps: of gradient-based inversion and of the hybrid.

    Raises:
      InputError: `check` refuses an inverter, an autoencoder has no inversion network beside it,
        or there are fewer than two images.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    common_size(inverters)
    networks = {name: each for name, each in inverters.items() if inverter_kind(each) == NETWORK}
    _check_partners(inverters, networks)
    few = images[evenly_spaced_indices(len(images), gradient_images)]
    if len(few) < 2:
        raise InputError(f"compare takes at least two images. Received: {len(few)}")
    scale = metrics.mean_pairwise_distance(images)
    names, chosen = inverter_labels(inverters), evenly_spaced_indices(len(few), _SHOWN)
    rows, findings, pictures = [], [], []
    feature_errors, image_errors = {}, {}
    for name, network in tqdm.tqdm(networks.items(), "compare", leave=False):
        given = {name: network} | matching_autoencoders(inverters, network)
        features, label = network.encode(few), names[name]
        own, shown = [], {"photograph": few[chosen]}
        for by, method, made, seconds in run_inversion_methods(
            given, few, features, gradient_steps, seed, parts
        ):
            rebuilt = resize_images(made, few.shape[1:3])
            wrong = relative_feature_error(network.encode(rebuilt), features)
            feature_errors[label, method] = wrong
            image_errors[label, method] = metrics.per_image_distance(few, rebuilt) / scale
            shown[method] = rebuilt[chosen]
            own.append(
                {
                    "inverter": by,
                    "layer": layer_name(network),
                    "method": method,
                    **mean_columns(("feature error", "its standard error"), wrong),
                    **image_scores(few, rebuilt, scale),
                    "seconds an image": seconds,
                    "images": len(few),
                }
            )
        rows += own
        findings.append(_finding(label, own))
        pictures.append(
            image_rows(
                shown,
                title=f"Ways back from {label}",
                caption="Photographs, and what each method finds for their features. The hybrid "
                "starts from the inversion network's image.",
            )
        )
    return Result(
        "Networks, gradient-based inversion, and both combined",
        f"{len(few)} of {len(images)} photographs, N = {scale:.2f}. The hybrid is gradient-based "
        "inversion that starts from the inversion network's image and is kept near it; both take "
        f"{gradient_steps} steps. Feature error: ‖Φ(x̂) - Φ(x)‖ / ‖Φ(x)‖, Φ being the feature that "
        "the inversion network inverts, for the autoencoder's images too, though its own encoder "
        "is another. Lower is better but for PSNR and SSIM; ± is a standard error.",
        findings,
        rows,
        [
            _chart(feature_errors, "relative feature error", "Who has the feature"),
            _chart(image_errors, "normalised image error", "Who is near the photograph"),
            *pictures,
        ],
        claims.compare(feature_errors, image_errors),
    )


def _check_partners(inverters: Mapping[str, Inverter], networks: Mapping[str, Inverter]) -> None:
    layers = {each.feature.name for each in networks.values()}
    for name, inverter in inverters.items():
        if inverter.feature.name not in layers:
            raise InputError(
                "compare takes an autoencoder beside the inversion network of its layer. "
                f"Received: {name}, {inverter_kind(inverter)} of {inverter.feature.name}, alone"
            )


def _finding(label: str, rows: Sequence[Row]) -> str:
    seconds = {row["method"]: row["seconds an image"] for row in rows}
    errors = format_rows(rows, "{method} {feature error:.3f} and {normalised error:.3f}", "; ")
    return (
        f"{label}, feature error and image error: {errors}. A network's image takes "
        f"{1000 * seconds[NETWORK]:.1f} ms, the hybrid's {seconds[HYBRID]:.1f} s."
    )


def _chart(errors: Mapping[tuple[str, str], np.ndarray], x: str, title: str) -> Figure:
    return charts.table_dot_chart(
        [
            {"label": label, "method": method} | mean_columns(("mean", "±"), values)
            for (label, method), values in errors.items()
        ],
        "mean",
        "±",
        series="method",
        title=title,
        caption="Mean and standard error over the photographs; lower is better.",
        x=x,
    )
