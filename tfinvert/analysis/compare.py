"""Inversion networks, gradient-based inversion and both combined, in image and in feature space.

A network gives the average of the images that share a feature, which is near the photograph, and
too blurred to have that feature itself. Gradient-based inversion finds an image that has it, which
need not be near. Their combination, which the paper leaves to future work, starts the second from
what the first gives and keeps it near.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.inverters import NETWORK, common_size, kind, labels, layer_of
from tfinvert.analysis.parts import NOTHING_KEPT, Parts
from tfinvert.analysis.result import Result, measured
from tfinvert.analysis.scores import scores
from tfinvert.analysis.ways_back import HYBRID, Outcome, autoencoders_of, outcomes_of
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.sampling import evenly

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
    parts: Parts = NOTHING_KEPT,
) -> Result:
    """Scores inversion networks, their autoencoders, gradient-based inversion and the hybrid.

    All see the same few images. Reconstructions are resized to the images' size and scored there.
    The feature error is that of the feature the inversion network inverts, for the autoencoder's
    images too: its own encoder is another representation.

    Args:
      inverters: by name: inversion networks, and autoencoders of their layers, of which the first
        of each kind is taken.
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
    networks = {name: each for name, each in inverters.items() if kind(each) == NETWORK}
    _check_partners(inverters, networks)
    few = images[evenly(len(images), gradient_images)]
    if len(few) < 2:
        raise InputError(f"compare takes at least two images. Received: {len(few)}")
    scale = metrics.mean_pairwise_distance(images)
    names, outcomes = labels(inverters), {}
    for name in tqdm.tqdm(networks, "compare", leave=False):
        given = {name: networks[name]} | autoencoders_of(inverters, networks[name])
        outcomes[names[name]] = outcomes_of(given, few, scale, gradient_steps, seed, parts)
    return Result(
        "Networks, gradient-based inversion, and both combined",
        f"{len(few)} of {len(images)} photographs, N = {scale:.2f}. The hybrid is gradient-based "
        "inversion that starts from the inversion network's image and is kept near it; both take "
        f"{gradient_steps} steps. Feature error: ‖Φ(x̂) - Φ(x)‖ / ‖Φ(x)‖, Φ being the feature that "
        "the inversion network inverts, for the autoencoder's images too, though its own encoder "
        "is another. Lower is better but for PSNR and SSIM; ± is a standard error.",
        [_finding(label, own) for label, own in outcomes.items()],
        [_row(each, inverters, few, scale) for own in outcomes.values() for each in own.values()],
        _figures(outcomes, few),
        claims.compare(_errors(outcomes, "feature_error"), _errors(outcomes, "image_error")),
    )


def _errors(
    outcomes: Mapping[str, Mapping[str, Outcome]], measure: str
) -> dict[str, dict[str, np.ndarray]]:
    """By layer and method."""
    return {
        label: {method: getattr(each, measure) for method, each in own.items()}
        for label, own in outcomes.items()
    }


def _check_partners(inverters: Mapping[str, Inverter], networks: Mapping[str, Inverter]) -> None:
    layers = {each.feature.name for each in networks.values()}
    for name, inverter in inverters.items():
        if inverter.feature.name not in layers:
            raise InputError(
                "compare takes an autoencoder beside the inversion network of its layer. "
                f"Received: {name}, {kind(inverter)} of {inverter.feature.name}, alone"
            )


def _row(
    outcome: Outcome, inverters: Mapping[str, Inverter], images: np.ndarray, scale: float
) -> dict[str, Any]:
    return {
        "inverter": outcome.name,
        "layer": layer_of(inverters[outcome.name]),
        "method": outcome.method,
        **measured(("feature error", "its standard error"), outcome.feature_error),
        **scores(images, outcome.images, scale),
        "seconds an image": outcome.seconds,
        "images": len(images),
    }


def _finding(label: str, outcomes: Mapping[str, Outcome]) -> str:
    return (
        f"{label}, feature error and image error: "
        + "; ".join(
            f"{method} {each.feature_error.mean():.3f} and {each.image_error.mean():.3f}"
            for method, each in outcomes.items()
        )
        + f". A network's image takes {1000 * outcomes[NETWORK].seconds:.1f} ms, the hybrid's "
        f"{outcomes[HYBRID].seconds:.1f} s."
    )


def _figures(outcomes: Mapping[str, Mapping[str, Outcome]], images: np.ndarray) -> list[Figure]:
    chosen = evenly(len(images), _SHOWN)
    pictures = [
        image_rows(
            {"photograph": images[chosen]}
            | {method: each.images[chosen] for method, each in own.items()},
            title=f"Ways back from {label}",
            caption="Photographs, and what each method finds for their features. The hybrid starts "
            "from the inversion network's image.",
        )
        for label, own in outcomes.items()
    ]
    drawn = {
        "feature_error": ("relative feature error", "Who has the feature"),
        "image_error": ("normalised image error", "Who is near the photograph"),
    }
    return [
        charts.dots(
            [
                {"label": label, "method": method} | measured(("mean", "±"), values)
                for label, own in _errors(outcomes, of).items()
                for method, values in own.items()
            ],
            "mean",
            "±",
            series="method",
            title=title,
            caption="Mean and standard error over the photographs; lower is better.",
            x=x,
        )
        for of, (x, title) in drawn.items()
    ] + pictures
