"""Claims: the paper's findings, the number that tests each, and the threshold that confirms it.

There is a function for each experiment that tests a finding. It takes the measurement and returns a
claim for each finding that these inverters and images can test. "Clearly" means by more than two
standard errors, paired over whatever was measured twice.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import scipy.stats

from tfinvert.analysis.class_scores import (
    REST_EQUALIZED,
    TOP_EQUALIZED,
    TOP_ONLY,
    TOP_REMOVED,
)
from tfinvert.analysis.equivariance import AVERAGE
from tfinvert.analysis.experiment import Claim, Measurement
from tfinvert.analysis.feature_samplers import (
    INDEPENDENT,
    best_joint_sampler,
)
from tfinvert.analysis.inversion_methods import GRADIENT, HYBRID
from tfinvert.analysis.inverters import AUTOENCODER, CLASS_SCORES, NETWORK
from tfinvert.analysis.perturbations import (
    BINARIZED,
    DROPPED,
    LARGEST_BINARIZED,
    STRUCTURAL,
    PerturbationLoss,
)
from tfinvert.analysis.scores import COARSE_SIZE, mean_and_error

HIGH_LAYERS = ("fc6", "fc7", "fc8")
MIN_COARSE_R2, MIN_AUTOENCODER_GAIN = 0.25, 0.1

LAST_HIDDEN = ("fc6", "fc7", "fire9")  # of AlexNet and of SqueezeNet
MAX_SHARE_LOST, MAX_POINTS, MIN_SENSITIVITY_RATIO = 0.25, 10, 1.5

TOP = 5  # classes

MAX_HUE_ERROR, DEEPEST = 45.0, 2  # degrees; fully connected layers
MIN_CORRELATION = 0.5

UNCERTAIN = "brightness", "color", "edges"  # components of which deviations are predicted

CROSSFADES = "conv5"

MIN_LAYERS, MAX_RANK_CORRELATION = 3, -0.5  # layers of one network


def layers(measurement: Measurement) -> list[Claim]:
    """Claims of `layers`.

    Its fact "network_errors" has, by inverter, the network's error on the images of gradient-based
    inversion.
    """
    networks, gradient, autoencoders = (
        {row["layer"]: row for row in measurement.rows if row["method"] == method}
        for method in (NETWORK, GRADIENT, AUTOENCODER)
    )
    errors = {layer: row["normalized_error"] for layer, row in networks.items()}
    compared = measurement.facts["network_errors"]
    return [
        *_claim(
            "The error grows with depth.",
            "The error of the inversion network rises from each layer to the next.",
            errors.items() if len(errors) > 1 else (),
            "{} {:.3f}",
            lambda _: all(a < b for a, b in itertools.pairwise(errors.values())),
        ),
        *_claim(
            "Colour and rough position survive in the class scores (fc8).",
            f"Reconstructions from the class scores explain more than {MIN_COARSE_R2:.0%} of the "
            f"variance of images reduced to {COARSE_SIZE}×{COARSE_SIZE} pixels.",
            [(layer, networks[layer]["coarse_r2"]) for layer in CLASS_SCORES if layer in networks],
            "{} {:.0%}",
            lambda explained: explained > MIN_COARSE_R2,
        ),
        *_claim(
            "Inversion networks beat gradient-based inversion.",
            "The error of the network is lower on the same images, at every layer.",
            [
                (layer, compared[row["inverter"]], row["normalized_error"])
                for layer, row in gradient.items()
            ],
            "{} {:.3f} and {:.3f}",
            lambda network, other: network < other,
        ),
        *_claim(
            "Autoencoders of the high layers are far better.",
            f"The error of the autoencoder is lower by more than {MIN_AUTOENCODER_GAIN:g} at each "
            f"of {', '.join(HIGH_LAYERS)} with both.",
            [
                (layer, errors[layer], row["normalized_error"])
                for layer, row in autoencoders.items()
                if layer in errors and layer in HIGH_LAYERS
            ],
            "{} {:.3f} and {:.3f}",
            lambda network, autoencoder: autoencoder < network - MIN_AUTOENCODER_GAIN,
        ),
    ]


def perturb(measurement: Measurement) -> list[Claim]:
    """Claims of `perturb`, on inverters better than the mean image.

    Its array "losses" is a list of `PerturbationLoss`.
    """
    losses: list[PerturbationLoss] = measurement.arrays["losses"]
    useful = [loss for loss in losses if loss.is_informative]
    networks = [loss for loss in useful if loss.kind == NETWORK]
    tested = [loss for loss in networks if loss.layer in LAST_HIDDEN]
    pairs = [
        (network, other)
        for network in networks
        for other in useful
        if other.kind != NETWORK and other.layer == network.layer
    ]
    return [
        *_claim(
            "Binarising the last hidden layers (fc6 and fc7) hardly hurts.",
            f"Less than {MAX_SHARE_LOST:.0%} of the gain over the mean image is lost, at each of "
            "them.",
            [(loss.label, *loss.share_lost(BINARIZED)) for loss in tested],
            "{} {:.1%} ± {:.1%}",
            lambda share, _: share < MAX_SHARE_LOST,
        ),
        *_claim(
            "Dropping half of the last hidden layers (fc6 and fc7) hurts more than binarising "
            "them.",
            "The error is higher, at each of them by more than 2 standard errors, paired over "
            "images.",
            [
                (loss.label, *mean_and_error(loss.rises[DROPPED] - loss.rises[BINARIZED]))
                for loss in tested
            ],
            "{} {:+.4f} ± {:.4f}",
        ),
        *_claim(
            "The smaller half of the active units of the last hidden layers (fc6 and fc7) hardly "
            "matters.",
            "Zeroing it before binarising changes the share lost by less than "
            f"{MAX_POINTS} points, at each of them.",
            [
                (
                    loss.label,
                    *(100 * x for x in loss.share_difference(LARGEST_BINARIZED, BINARIZED)),
                )
                for loss in tested
            ],
            "{} {:+.1f} ± {:.1f} points",
            lambda change, _: abs(change) < MAX_POINTS,
        ),
        *_claim(
            "Autoencoders are far more sensitive than inversion networks.",
            "The share lost, averaged over all perturbations except noise, is at least "
            f"{MIN_SENSITIVITY_RATIO:g} times as large, at every layer with both.",
            [
                tuple(x for own in pair for x in (own.label, *own.share_lost(*STRUCTURAL)))
                for pair in pairs
            ],
            "{} {:.1%} ± {:.1%}, {} {:.1%} ± {:.1%}",
            lambda own, _, __, other, ___: other > own and other >= MIN_SENSITIVITY_RATIO * own,
            "; ",
        ),
    ]


def probabilities(measurement: Measurement) -> list[Claim]:
    """Claims of `probabilities`, on inverters of probabilities.

    Its array "distances" has, by inverter and by variant and setting, each image's distance to the
    reconstruction from all classes; its fact "probability_inverters" names those tested.
    """
    distances = measurement.arrays["distances"]
    tested = {
        name: distances[name]
        for name in measurement.facts["probability_inverters"]
        if (TOP_ONLY, TOP) in distances[name]
    }

    def gains(far: str, near: str) -> list[tuple]:
        return [
            (name, *mean_and_error(own[far, TOP] - own[near, TOP])) for name, own in tested.items()
        ]

    beyond = "by more than 2 standard errors, paired over images."
    return [
        *_claim(
            "Dark knowledge: zeroing the top five classes changes the reconstruction less than "
            "zeroing all others.",
            f"With the top {TOP} probabilities zeroed the reconstruction is nearer to that from "
            f"all classes than with all others zeroed, {beyond}",
            gains(TOP_ONLY, TOP_REMOVED),
            "{} nearer by {:+.3f} ± {:.3f} N",
        ),
        *_claim(
            "Dark knowledge, with no class set to zero: the differences among the small "
            "probabilities matter more than those among the top five.",
            f"With the top {TOP} evened out the reconstruction is nearer to that from all classes "
            f"than with all others evened out, {beyond}",
            gains(REST_EQUALIZED, TOP_EQUALIZED),
            "{} nearer by {:+.3f} ± {:.3f} N",
        ),
    ]


def color(measurement: Measurement) -> list[Claim]:
    """Claims of `color`."""
    return _claim(
        "The colour of the object comes back even from the highest layers.",
        f"The mean hue error is below {MAX_HUE_ERROR:g}° (chance: 90°) at the deepest fully "
        f"connected layers, at most {DEEPEST}.",
        _fully_connected(measurement, "hue_error", "hue_error_se")[-DEEPEST:],
        "{} {:.1f} ± {:.1f}°",
        lambda error, _: error < MAX_HUE_ERROR,
    )


def position(measurement: Measurement) -> list[Claim]:
    """Claims of `position`."""
    return _claim(
        "Rough position survives in fully connected layers.",
        f"The correlation of measured and true position is above {MIN_CORRELATION} at every fully "
        "connected layer.",
        _fully_connected(measurement, "correlation", "correlation_se"),
        "{} {:.3f} ± {:.3f}",
        lambda correlation, _: correlation > MIN_CORRELATION,
    )


def interpolate(measurement: Measurement) -> list[Claim]:
    """Claims of `interpolate`.

    Its array "straight_scores" has, by inversion network, the cross-fade scores of the same pairs
    on straight paths: `[pairs]`.
    """
    layer_of = measurement.table.set_index("inverter")["layer"].to_dict()
    scores = measurement.arrays["straight_scores"]
    return _claim(
        "Between two images' features, conv5 overlays the images, fc6 and above morph.",
        f"The cross-fade score of {CROSSFADES} is above that of each of {', '.join(HIGH_LAYERS)}, "
        "by more than 2 standard errors, paired over pairs of images, on straight paths.",
        [
            (f"{layer_of[low]} over {layer_of[high]}", *mean_and_error(scores[low] - scores[high]))
            for low, high in itertools.product(scores, scores)
            if layer_of[low] == CROSSFADES and layer_of[high] in HIGH_LAYERS
        ],
        "{} by {:+.3f} ± {:.3f}",
    )


def sample(measurement: Measurement) -> list[Claim]:
    """Claims of `sample`.

    Its array "relative" is a table of distances in units of the distance of real features.
    """
    values = []
    for label, own in measurement.arrays["relative"].groupby("label", sort=False):
        own = own.set_index("source")[["frechet_distance", "frechet_distance_se"]]
        joint = best_joint_sampler(own["frechet_distance"])
        values.append((label, *own.loc[joint], *own.loc[INDEPENDENT]))
    return _claim(
        "Joint samples are nearer to real features than independent ones (our extension).",
        "At every layer the Fréchet distance of the better joint model is below that of "
        "independent histograms by more than two standard errors over draws.",
        values,
        "{} {:.2f} ± {:.2f} against {:.2f} ± {:.2f}",
        lambda near, near_error, far, far_error: _clearly(
            far - near, np.hypot(near_error, far_error)
        ),
        "; ",
        " (1 is the distance of other real features)",
    )


def units(measurement: Measurement) -> list[Claim]:
    """Claims of `units`.

    Its array "class_correlations" has, by label, `ClassCorrelations` of enough classes.
    """
    return _claim(
        "Units of classes (fc8) look like class averages.",
        "The correlation of a class's unit with the average photograph of its own class is above "
        "its mean correlation with other classes by more than two standard errors over classes.",
        [
            (label, x.own.mean(), x.others.mean(), *mean_and_error(x.own - x.others), len(x.own))
            for label, x in measurement.arrays["class_correlations"].items()
        ],
        "{} {:.3f} with its own class, {:.3f} with others, difference {:.3f} ± {:.3f} over {} "
        "classes",
        lambda own, others, gain, error, count: _clearly(gain, error),
        "; ",
    )


def invariance(measurement: Measurement) -> list[Claim]:
    """Claims of `invariance`, on one network.

    Its array "averages" is a table of scores averaged over strengths; its fact "network" names the
    inverters of the network, from the first layer to the last.
    """
    averages = measurement.arrays["averages"]
    chosen = averages["transformation"].eq(AVERAGE) & averages["inverter"].isin(
        measurement.facts["network"]
    )
    rows = averages[chosen].to_dict("records")
    grids = [row for row in rows if row["axes"] == 3]
    if len(rows) < MIN_LAYERS or not grids or grids[0] is rows[-1]:
        return []
    scores = [row["equivariance"] for row in rows]
    rank = scipy.stats.spearmanr(range(len(rows)), scores).statistic
    columns = "label", "equivariance", "equivariance_se"
    return _claim(
        "Low layers follow image transformations, high layers less.",
        "The equivariance score, averaged over transformations, is higher at the first "
        "convolutional layer than at the deepest layer, and its rank correlation with depth is "
        f"below {MAX_RANK_CORRELATION} over {len(rows)} layers.",
        [(*(row[column] for row in (grids[0], rows[-1]) for column in columns), rank)],
        "{} {:.3f} ± {:.3f}, {} {:.3f} ± {:.3f}; rank correlation {:.2f}",
        lambda low, _, __, high, ___, rank: low > high and rank < MAX_RANK_CORRELATION,
    )


def compare(measurement: Measurement) -> list[Claim]:
    """Claims of `compare`.

    Its arrays "feature_errors" and "image_errors" are by label and method, one error an image.
    """

    def gains(errors: Mapping[tuple[str, str], np.ndarray], method: str) -> list[tuple]:
        labels = dict.fromkeys(label for label, _ in errors)
        return [(x, *mean_and_error(errors[x, method] - errors[x, HYBRID])) for x in labels]

    beyond = "at every layer, by more than 2 standard errors, paired over images."
    return [
        *_claim(
            "The hybrid of inversion network and gradient-based inversion (the paper's future "
            "work) matches the feature better than the network.",
            f"The feature error of the hybrid is below that of the {NETWORK} {beyond}",
            gains(measurement.arrays["feature_errors"], NETWORK),
            "{} by {:.3f} ± {:.3f}",
        ),
        *_claim(
            "The hybrid of inversion network and gradient-based inversion (the paper's future "
            "work) is nearer to the photograph than gradient-based inversion.",
            f"The image error of the hybrid is below that of {GRADIENT} {beyond}",
            gains(measurement.arrays["image_errors"], GRADIENT),
            "{} by {:.3f} ± {:.3f}",
        ),
    ]


def uncertainty(measurement: Measurement) -> list[Claim]:
    """Claims of `uncertainty`.

    Its array "deviations" has, by label, from the first to the last layer of one network, the
    predicted standard deviation of each image by component (`UNCERTAIN`).
    """
    deviations = measurement.arrays["deviations"]
    rises = [
        mean_and_error(deep[part] - shallow[part])
        for shallow, deep in itertools.pairwise(deviations.values())
        for part in UNCERTAIN
    ]
    return _claim(
        "Uncertainty about brightness, colour and edges grows with depth.",
        "The predicted standard deviation rises from each layer to the next, in all three "
        "components by more than 2 standard errors, paired over images.",
        [
            (label, *(parts[part].mean() for part in UNCERTAIN))
            for label, parts in deviations.items()
        ]
        if rises
        else (),
        "{} {:.3f}, {:.3f}, {:.3f}",
        lambda *_: all(_clearly(*rise) for rise in rises),
        "; ",
    )


def _clearly(gain: float, error: float) -> bool:
    return gain > 2 * error


def _claim(
    finding: str,
    measure: str,
    values: Iterable[tuple[Any, ...]],
    template: str,
    confirms: Callable[..., bool] = _clearly,
    separator: str = ", ",
    suffix: str = "",
) -> list[Claim]:
    """One claim, or none where there is nothing to test.

    It has a tuple (label, number, …) for each layer, for example, and holds if the numbers of all
    tuples confirm it; by default, the numbers are a gain and its standard error.
    """
    values = list(values)
    if not values:
        return []
    text = separator.join(template.format(*each) for each in values) + suffix
    return [Claim(finding, measure, text, all(bool(confirms(*each[1:])) for each in values))]


def _fully_connected(measurement: Measurement, *columns: str) -> list[tuple]:
    """Label and columns of the inversion networks of fully connected layers."""
    table = measurement.table
    chosen = table[table["kind"].eq(NETWORK) & table["axes"].eq(1)]
    return list(chosen[["label", *columns]].itertuples(index=False, name=None))
