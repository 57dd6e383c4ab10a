"""What the paper found, by which number it is tested here, and from where on that confirms it.

One function for each experiment that tests a finding, in the order of the experiments. It takes
what was measured and gives a claim for each finding that these inverters and images can test.
"Clearly" is by more than two standard errors, paired over whatever was measured twice.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from tfinvert.analysis.class_scores import REST_EQUALIZED, TOP_EQUALIZED, TOP_ONLY, TOP_REMOVED, Key
from tfinvert.analysis.feature_samplers import INDEPENDENT, OF_FEATURES, SOURCE, best_joint_sampler
from tfinvert.analysis.inversion_methods import GRADIENT, HYBRID
from tfinvert.analysis.inverters import AUTOENCODER, CLASS_SCORES, NETWORK
from tfinvert.analysis.perturbations import (
    BINARIZED,
    DROPPED,
    LARGEST_BINARIZED,
    STRUCTURAL,
    PerturbationLoss,
)
from tfinvert.analysis.result import Claim, Row, mean_and_error
from tfinvert.analysis.scores import CELLS, COARSE

HIGH = ("fc6", "fc7", "fc8")
SURVIVES, FAR = 0.25, 0.1

LAST_HIDDEN = ("fc6", "fc7", "fire9")  # of AlexNet and of SqueezeNet
HARDLY, POINTS, SENSITIVE = 0.25, 10, 1.5

TOP = 5  # classes

HUE, DEEPEST = 45.0, 2  # degrees; fully connected layers
PLACE = 0.5

TOLD = "brightness", "colour", "edges"  # of which inverters tell deviations

OVERLAYS = "conv5"

FEWEST, RANK = 3, -0.5  # layers of one network that have a rank correlation


def layers(rows: Sequence[Row], compared: Mapping[str, float]) -> list[Claim]:
    """Of `layers`, with rows from the first layer to the last.

    `compared` has, by inverter, a network's error on the images gradient-based inversion had.
    """
    networks, gradient, autoencoders = (
        {row["layer"]: row for row in rows if row["method"] == method}
        for method in (NETWORK, GRADIENT, AUTOENCODER)
    )
    errors = {layer: row["normalised error"] for layer, row in networks.items()}
    return [
        *_claim(
            "The error grows with depth.",
            "The inversion network's error rises from each layer given to the next.",
            errors.items() if len(errors) > 1 else (),
            "{} {:.3f}",
            lambda _: all(a < b for a, b in itertools.pairwise(errors.values())),
        ),
        *_claim(
            "Colour and rough position survive in the class scores (fc8).",
            f"Of images reduced to {CELLS}×{CELLS} pixels, reconstructions from it explain more "
            f"than {SURVIVES:.0%} of the variance.",
            [(layer, networks[layer][COARSE]) for layer in CLASS_SCORES if layer in networks],
            "{} {:.0%}",
            lambda part: part > SURVIVES,
        ),
        *_claim(
            "Inversion networks beat gradient-based inversion.",
            "The network's error is lower on the same images, at every layer given.",
            [
                (layer, compared[row["inverter"]], row["normalised error"])
                for layer, row in gradient.items()
            ],
            "{} {:.3f} and {:.3f}",
            lambda ours, theirs: ours < theirs,
        ),
        *_claim(
            "Autoencoders of the high layers are far better.",
            f"The autoencoder's error is lower by more than {FAR:g}, at each of "
            f"{', '.join(HIGH)} given.",
            [
                (layer, errors[layer], row["normalised error"])
                for layer, row in autoencoders.items()
                if layer in errors and layer in HIGH
            ],
            "{} {:.3f} and {:.3f}",
            lambda ours, theirs: theirs < ours - FAR,
        ),
    ]


def perturb(losses: Sequence[PerturbationLoss]) -> list[Claim]:
    """Of `perturb`: of inverters whose features give something that can be lost."""
    useful = [each for each in losses if each.gains]
    networks = [each for each in useful if each.kind == NETWORK]
    tested = [each for each in networks if each.layer in LAST_HIDDEN]
    pairs = [
        (network, other)
        for network in networks
        for other in useful
        if other.kind != NETWORK and other.layer == network.layer
    ]
    return [
        *_claim(
            "Binarising the last hidden layers (fc6 and fc7) hardly hurts.",
            f"Less than {HARDLY:.0%} of what the feature gives is lost, at each of them.",
            [(each.label, *each.lost(BINARIZED)) for each in tested],
            "{} {:.1%} ± {:.1%}",
            lambda share, _: share < HARDLY,
        ),
        *_claim(
            "Dropping half of the last hidden layers (fc6 and fc7) hurts more than binarising "
            "them.",
            "The error is higher, at each of them by more than 2 standard errors, paired over "
            "images.",
            [
                (each.label, *mean_and_error(each.rises[DROPPED] - each.rises[BINARIZED]))
                for each in tested
            ],
            "{} {:+.4f} ± {:.4f}",
        ),
        *_claim(
            "The smaller half of the active units of the last hidden layers (fc6 and fc7) hardly "
            "matters.",
            "Zeroing it before binarising changes the share that is lost by less than "
            f"{POINTS} points, at each of them.",
            [
                (each.label, *(100 * x for x in each.further(LARGEST_BINARIZED, BINARIZED)))
                for each in tested
            ],
            "{} {:+.1f} ± {:.1f} points",
            lambda change, _: abs(change) < POINTS,
        ),
        *_claim(
            "Autoencoders are far more sensitive than inversion networks.",
            "The share that is lost, the mean over all perturbations but noise, is at least "
            f"{SENSITIVE:g} times as large, at every layer of which there are both.",
            [
                (own.label, *own.lost(*STRUCTURAL), other.label, *other.lost(*STRUCTURAL))
                for own, other in pairs
            ],
            "{} {:.1%} ± {:.1%}, {} {:.1%} ± {:.1%}",
            lambda own, _, __, theirs, ___: theirs > own and theirs >= SENSITIVE * own,
            "; ",
        ),
    ]


def probabilities(distances: Mapping[str, Mapping[Key, np.ndarray]]) -> list[Claim]:
    """Of `probabilities`, for inverters of probabilities.

    Distances are each image's to the reconstruction from all classes, by name and change.
    """
    tested = {name: own for name, own in distances.items() if (TOP_ONLY, TOP) in own}

    def nearer(far: str, near: str) -> list[tuple]:
        return [
            (name, *mean_and_error(own[far, TOP] - own[near, TOP])) for name, own in tested.items()
        ]

    beyond = "by more than 2 standard errors, paired over images."
    return [
        *_claim(
            "Dark knowledge: without the top five classes the image comes back as from all of "
            "them, from these five alone it does not.",
            f"From all probabilities but the top {TOP}, which are zero, the reconstruction is "
            f"nearer to that from all than from the top {TOP} alone, {beyond}",
            nearer(TOP_ONLY, TOP_REMOVED),
            "{} nearer by {:+.3f} ± {:.3f} N",
        ),
        *_claim(
            "Dark knowledge, with no class set to zero: what tells the small probabilities apart "
            "matters more than what tells the top five apart.",
            f"With the top {TOP} evened out the reconstruction is nearer to that from all than "
            f"with all others evened out, {beyond}",
            nearer(REST_EQUALIZED, TOP_EQUALIZED),
            "{} nearer by {:+.3f} ± {:.3f} N",
        ),
    ]


def color(rows: Sequence[Row], value: str, error: str) -> list[Claim]:
    """Of `color`: labelled rows from the first layer on, and the columns of the error and ±."""
    return _claim(
        "The colour of the object comes back even from the highest layers.",
        f"The mean angular error of the hue is below {HUE:g}° (chance: 90°) at the deepest fully "
        f"connected layers given, at most {DEEPEST}.",
        _connected(rows, value, error)[-DEEPEST:],
        "{} {:.1f} ± {:.1f}°",
        lambda error, _: error < HUE,
    )


def position(rows: Sequence[Row], value: str, error: str) -> list[Claim]:
    """Of `position`: labelled rows, and the columns of the correlation and ±."""
    return _claim(
        "Rough position survives in fully connected layers.",
        f"The correlation of measured and true place is above {PLACE} at every fully connected "
        "layer given.",
        _connected(rows, value, error),
        "{} {:.3f} ± {:.3f}",
        lambda correlation, _: correlation > PLACE,
    )


def interpolate(overlays: Mapping[str, tuple[str, np.ndarray]]) -> list[Claim]:
    """Of `interpolate`: networks' layers and `overlay` of the same pairs on straight paths."""
    return _claim(
        "Between two images' features, conv5 overlays the images, fc6 and above morph.",
        "The overlay of conv5 is above that of each of fc6, fc7 and fc8 given, by more than 2 "
        "standard errors, paired over pairs of images, on straight paths.",
        [
            (f"{lower} over {upper}", *mean_and_error(before - after))
            for lower, before in overlays.values()
            for upper, after in overlays.values()
            if lower == OVERLAYS and upper in HIGH
        ],
        "{} by {:+.3f} ± {:.3f}",
    )


def sample(table: pd.DataFrame) -> list[Claim]:
    """Of `sample`: what `feature_samplers.relative_to_real` gives."""
    values = []
    for label, own in table.groupby("label", sort=False):
        own = own.set_index(SOURCE)[list(OF_FEATURES)]
        joint = best_joint_sampler(own[OF_FEATURES[0]])
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


def units(likenesses: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Claim]:
    """Of `units`: correlations of k classes' units with their own, and the means with others."""
    return _claim(
        "Units of classes (fc8) look like class averages.",
        "The correlation of a class's unit with the average photograph of its own class is above "
        "the mean of that with other classes by more than two standard errors over classes.",
        [
            (label, own.mean(), others.mean(), *mean_and_error(own - others), len(own))
            for label, (own, others) in likenesses.items()
        ],
        "{} {:.3f} with its own class, {:.3f} with others, difference {:.3f} ± {:.3f} over {} "
        "classes",
        lambda own, others, gain, error, count: _clearly(gain, error),
        "; ",
    )


def invariance(rows: Sequence[Row]) -> list[Claim]:
    """Of `invariance`: labelled rows of one network, from the first layer to the last.

    "mean" is the coefficient, averaged over transformations, and "±" its standard error.
    """
    grids = [row for row in rows if row["axes"] == 3]
    if len(rows) < FEWEST or not grids or grids[0] is rows[-1]:
        return []
    rank = scipy.stats.spearmanr(range(len(rows)), [row["mean"] for row in rows]).statistic
    return _claim(
        "Low layers follow what is done to the image, high layers less.",
        "The coefficient, averaged over transformations, is higher at the first convolution given "
        f"than at the deepest layer, and its rank correlation with depth is below {RANK} over "
        f"{len(rows)} layers.",
        [(*(row[key] for row in (grids[0], rows[-1]) for key in ("label", "mean", "±")), rank)],
        "{} {:.3f} ± {:.3f}, {} {:.3f} ± {:.3f}; rank correlation {:.2f}",
        lambda low, _, __, high, ___, rank: low > high and rank < RANK,
    )


def compare(
    feature_errors: Mapping[tuple[str, str], np.ndarray],
    image_errors: Mapping[tuple[str, str], np.ndarray],
) -> list[Claim]:
    """Of `compare`; the errors are by layer and method, one for each image."""

    def gains(errors: Mapping[tuple[str, str], np.ndarray], method: str) -> list[tuple]:
        layers = dict.fromkeys(label for label, _ in errors)
        return [(x, *mean_and_error(errors[x, method] - errors[x, HYBRID])) for x in layers]

    beyond = "at every layer, by more than 2 standard errors, paired over images."
    return [
        *_claim(
            "Combined with gradient-based inversion (the paper's future work), the inversion "
            "network's image comes to have the feature.",
            f"The hybrid's feature error is below the {NETWORK}'s {beyond}",
            gains(feature_errors, NETWORK),
            "{} by {:.3f} ± {:.3f}",
        ),
        *_claim(
            "Combined with an inversion network (the paper's future work), gradient-based "
            "inversion comes nearer to the photograph.",
            f"The hybrid's image error is below {GRADIENT}'s {beyond}",
            gains(image_errors, GRADIENT),
            "{} by {:.3f} ± {:.3f}",
        ),
    ]


def uncertainty(told: Mapping[str, Mapping[str, np.ndarray]]) -> list[Claim]:
    """Of `uncertainty`: by label, from one network's first layer to its last, and by `TOLD`.

    They are the deviations that the inverter tells of each image.
    """
    rises = [
        mean_and_error(deep[part] - shallow[part])
        for shallow, deep in itertools.pairwise(told.values())
        for part in TOLD
    ]
    return _claim(
        "What a layer throws away, of brightness, of colour and of edges, grows with depth.",
        "The deviation that the inverter itself tells rises from each layer given to the next, in "
        "all three by more than 2 standard errors, paired over images.",
        [(label, *(parts[part].mean() for part in TOLD)) for label, parts in told.items()]
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
    form: str,
    confirms: Callable[..., bool] = _clearly,
    separator: str = ", ",
    end: str = "",
) -> list[Claim]:
    """One claim, or none where there is nothing to test.

    It is about values (label, number, …), of each layer for example, and holds if the numbers of
    all confirm it: gains and their errors, unless `confirms` says otherwise. They read as the form
    says, with the separator between and the end behind them.
    """
    values = list(values)
    if not values:
        return []
    text = separator.join(form.format(*each) for each in values) + end
    return [Claim(finding, measure, text, all(bool(confirms(*each[1:])) for each in values))]


def _connected(rows: Sequence[Row], *columns: str) -> list[tuple]:
    """Of fully connected layers' inversion networks: label and columns."""
    connected = (row for row in rows if row["kind"] == NETWORK and row["axes"] == 1)
    return [(row["label"], *(row[each] for each in columns)) for row in connected]
