"""Which part of a feature carries the image: features perturbed before they are inverted.

Section 5 of the paper. Nothing is trained again, so a reconstruction that survives says that the
network hardly used what was taken away: the magnitudes, half of the entries, the small ones.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import NETWORK, kind, labels, layer_of
from tfinvert.analysis.perturbations import add_noise, binarize, dropout, keep_largest
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.plots import MAX_LINES, MAX_ORDERED, dot_chart, line_chart
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

LEVELS = (0.1, 0.25, 0.5, 1.0)
PLAIN = "unperturbed"
BINARIZED = "binarised"
DROPPED = "dropout 50 %"
DROPPED_BINARIZED = "dropout 50 %, binarised"
LARGEST_BINARIZED = "smallest 50 % zeroed, binarised"
_STRUCTURAL = (BINARIZED, DROPPED, DROPPED_BINARIZED, LARGEST_BINARIZED)
_CLAIMED = ("fc6", "fc7", "fire9")  # the last hidden layers of AlexNet and of SqueezeNet
_HARDLY, _POINTS, _SENSITIVE = 0.25, 0.10, 1.5
_SHOWN, _DRAWN = 8, 4


class _Perturbation(NamedTuple):
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    random: bool = False
    level: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What perturbing one inverter's features did.

    Attributes:
      label: its layer, and its kind where that is not an inversion network.
      layer: "fc6".
      kind: see `tfinvert.analysis.inverters.kind`.
      gain: how much smaller each image's normalised error is than that of the mean image, what
        the unperturbed feature gives: `[n]`.
      rises: by perturbation, how much that error rises, mean over draws: `[n]`.
    """

    label: str
    layer: str
    kind: str
    gain: np.ndarray
    rises: Mapping[str, np.ndarray]

    @property
    def gains(self) -> bool:
        """Whether the feature gives anything that could be lost."""
        return bool(self.gain.mean() > 0)

    def lost(self, *perturbations: str) -> tuple[float, float]:
        """The share of the gain that is lost, (e' - e) / (e_mean - e), and its standard error.

        Of several perturbations the mean share. The standard error over images is that of a ratio
        of two means.
        """
        return _share(np.mean([self.rises[key] for key in perturbations], 0), self.gain)


def check(name: str, inverter: Inverter) -> None:
    """Refuses features whose entries are not a network's activations.

    Raises:
      InputError: they are probabilities, or no layer of a network.
    """
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
      inverters: by name; inversion networks and autoencoders of layers.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
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
    mean_error = metrics.normalized_error(images, mean, scale)
    nothing = metrics.per_image_distance(images, mean) / scale
    inverters = _side_by_side(inverters)
    names, drawn = labels(inverters), _drawn(inverters)
    perturbations = _perturbations(levels)
    chosen = evenly(len(images), _SHOWN)
    rows, outcomes, pictures = [], [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "perturb", leave=False):
        features = inverter.encode(images)
        errors: dict[str, np.ndarray] = {}
        shown = {"original": images[chosen]}
        for label, perturbation in perturbations.items():
            draws = []
            for i in range(repeats if perturbation.random else 1):
                changed = perturbation.apply(features, np.random.default_rng([seed, i]))
                rebuilt = resize_images(inverter.invert(changed), images.shape[1:3])
                draws.append(metrics.per_image_distance(images, rebuilt) / scale)
                if i == 0:
                    shown[label] = rebuilt[chosen]
            errors[label] = np.stack(draws)
        outcome = _outcome(names[name], inverter, errors, nothing)
        outcomes.append(outcome)
        facts = {"inverter": name, "layer": outcome.layer, "kind": outcome.kind}
        for label, perturbation in perturbations.items():
            facts |= {"perturbation": label, "noise level": perturbation.level}
            rows.append(facts | _measures(outcome, label, errors[label]))
        if name in drawn:
            pictures[name] = _pictures(names[name], shown)
    return Result(
        "Which part of a feature carries the image",
        f"{len(images)} photographs, compared at {images.shape[1]}×{images.shape[2]} pixels. Each "
        "photograph's feature keeps its norm unless it is given noise; random perturbations are "
        f"drawn {repeats} times. The share that is lost is of what the feature gives over the "
        f"mean of these photographs, whose normalised error is {mean_error:.3f}. Standard errors "
        "are over images, of the mean over draws.",
        _findings(outcomes, levels),
        rows,
        [*_charts(outcomes, levels), *(pictures[name] for name in drawn)],
        claims(outcomes),
    )


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """What the paper found that these outcomes can test."""
    useful = [outcome for outcome in outcomes if outcome.gains]
    networks = [outcome for outcome in useful if outcome.kind == NETWORK]
    tested = [outcome for outcome in networks if outcome.layer in _CLAIMED]
    pairs = [
        (network, other)
        for network in networks
        for other in useful
        if other.kind != NETWORK and other.layer == network.layer
    ]
    return [
        *([_binarizing(tested), _dropping(tested), _smallest(tested)] if tested else []),
        *([_autoencoders(pairs)] if pairs else []),
    ]


def _binarizing(tested: Sequence[Outcome]) -> Claim:
    lost = [outcome.lost(BINARIZED) for outcome in tested]
    return Claim(
        "Binarising the last hidden layers (fc6 and fc7) hardly hurts.",
        f"Less than {_HARDLY:.0%} of what the feature gives is lost, at each of them.",
        _each(tested, lost, "{:.1%} ± {:.1%}"),
        all(share < _HARDLY for share, _ in lost),
    )


def _dropping(tested: Sequence[Outcome]) -> Claim:
    further = [outcome.rises[DROPPED] - outcome.rises[BINARIZED] for outcome in tested]
    compared = [(float(rise.mean()), float(scipy.stats.sem(rise))) for rise in further]
    return Claim(
        "Dropping half of the last hidden layers (fc6 and fc7) hurts more than binarising them.",
        "The error is higher, at each of them by more than 2 standard errors, paired over images.",
        _each(tested, compared, "{:+.4f} ± {:.4f}"),
        all(rise > 2 * error for rise, error in compared),
    )


def _smallest(tested: Sequence[Outcome]) -> Claim:
    further = [
        _share(outcome.rises[LARGEST_BINARIZED] - outcome.rises[BINARIZED], outcome.gain)
        for outcome in tested
    ]
    return Claim(
        "The smaller half of the active units of the last hidden layers (fc6 and fc7) hardly "
        "matters.",
        "Zeroing it before binarising changes the share that is lost by less than "
        f"{100 * _POINTS:.0f} points, at each of them.",
        _each(tested, [(100 * a, 100 * b) for a, b in further], "{:+.1f} ± {:.1f} points"),
        all(abs(change) < _POINTS for change, _ in further),
    )


def _autoencoders(pairs: Sequence[tuple[Outcome, Outcome]]) -> Claim:
    lost = [[each.lost(*_STRUCTURAL) for each in pair] for pair in pairs]
    return Claim(
        "Autoencoders are far more sensitive than inversion networks.",
        "The share that is lost, the mean over all perturbations but noise, is at least "
        f"{_SENSITIVE:g} times as large, at every layer of which there are both.",
        "; ".join(
            _each(pair, shares, "{:.1%} ± {:.1%}") for pair, shares in zip(pairs, lost, strict=True)
        ),
        all(theirs > own and theirs >= _SENSITIVE * own for (own, _), (theirs, _) in lost),
    )


def _share(rise: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    share = rise.mean() / gain.mean()
    return float(share), float(scipy.stats.sem(rise - share * gain) / gain.mean())


def _each(outcomes: Sequence[Outcome], values: Iterable[tuple[float, ...]], template: str) -> str:
    pairs = zip(outcomes, values, strict=True)
    return ", ".join(f"{outcome.label} {template.format(*value)}" for outcome, value in pairs)


def _perturbations(levels: Sequence[float]) -> dict[str, _Perturbation]:
    return {
        PLAIN: _Perturbation(lambda features, _: features),
        BINARIZED: _Perturbation(lambda features, _: binarize(features)),
        DROPPED: _Perturbation(dropout, random=True),
        DROPPED_BINARIZED: _Perturbation(lambda *given: binarize(dropout(*given)), random=True),
        LARGEST_BINARIZED: _Perturbation(lambda features, _: binarize(keep_largest(features))),
    } | {
        _noise(level): _Perturbation(
            lambda *given, level=level: add_noise(*given, level), random=True, level=float(level)
        )
        for level in levels
    }


def _noise(level: float) -> str:
    return f"noise {level:g}"


def _outcome(
    label: str, inverter: Inverter, errors: Mapping[str, np.ndarray], nothing: np.ndarray
) -> Outcome:
    means = {key: error.mean(0) for key, error in errors.items()}
    rises = {key: mean - means[PLAIN] for key, mean in means.items()}
    return Outcome(label, layer_of(inverter), kind(inverter), nothing - means[PLAIN], rises)


def _measures(outcome: Outcome, label: str, errors: np.ndarray) -> dict[str, float | None]:
    """Of one perturbation; `errors` are `[draws, n]`."""
    rise, draws = outcome.rises[label], errors.mean(1)
    share, share_error = outcome.lost(label) if outcome.gains else (None, None)
    return {
        "normalised error": float(errors.mean()),
        "rise": float(rise.mean()),
        "standard error of the rise": float(scipy.stats.sem(rise)),
        "share lost": share,
        "standard error of the share": share_error,
        "draws": len(draws),
        "standard error over draws": float(scipy.stats.sem(draws)) if len(draws) > 1 else None,
    }


def _side_by_side(inverters: Mapping[str, Inverter]) -> dict[str, Inverter]:
    """In the order given, but those of one layer beside each other."""
    order = list(dict.fromkeys(layer_of(inverter) for inverter in inverters.values()))
    return dict(sorted(inverters.items(), key=lambda item: order.index(layer_of(item[1]))))


def _drawn(inverters: Mapping[str, Inverter]) -> list[str]:
    """Those whose reconstructions are shown: fc6 and its autoencoder first."""
    return sorted(inverters, key=lambda name: layer_of(inverters[name]) != "fc6")[:_DRAWN]


def _findings(outcomes: Sequence[Outcome], levels: Sequence[float]) -> list[str]:
    useful = [outcome for outcome in outcomes if outcome.gains]
    if not useful:
        return ["No feature gives anything over the mean of these photographs that could be lost."]
    told = [*_STRUCTURAL, *([_noise(max(levels))] if levels else [])]
    return [
        f"Share of what the feature gives that is lost, {label}: "
        + _each(useful, [outcome.lost(label) for outcome in useful], "{:.1%} ± {:.1%}")
        + "."
        for label in told
    ]


def _charts(outcomes: Sequence[Outcome], levels: Sequence[float]) -> list[Figure]:
    """Charts of all inverters that a chart can hold, else of each kind's first ones."""
    useful = [outcome for outcome in outcomes if outcome.gains]
    groups = {"": useful} if useful else {}
    ordered = len(useful) > MAX_LINES
    if ordered:
        kinds = dict.fromkeys(outcome.kind for outcome in useful)
        groups = {
            f", {kind}": [outcome for outcome in useful if outcome.kind == kind][:MAX_ORDERED]
            for kind in kinds
        }
    figures = []
    for suffix, group in groups.items():
        figures.append(_lost_chart(group, suffix, ordered))
        if levels:
            figures.append(_noise_chart(group, suffix, ordered, levels))
    return figures


def _lost_chart(group: Sequence[Outcome], suffix: str, ordered: bool) -> Figure:
    series = {
        outcome.label: {
            key: (100 * share, 100 * error)
            for key, (share, error) in ((key, outcome.lost(key)) for key in _STRUCTURAL)
        }
        for outcome in group
    }
    return dot_chart(
        series,
        title=f"What is lost with a part of the feature{suffix}",
        caption="Of what the feature gives over the mean of the photographs: at 100 % nothing of "
        "it is left. With standard errors over images.",
        x="share lost (%)",
        ordered=ordered,
    )


def _noise_chart(
    group: Sequence[Outcome], suffix: str, ordered: bool, levels: Sequence[float]
) -> Figure:
    lines = {
        outcome.label: [
            (level, float(rise.mean()), float(scipy.stats.sem(rise)))
            for level, rise in ((level, outcome.rises[_noise(level)]) for level in sorted(levels))
        ]
        for outcome in group
    }
    return line_chart(
        lines,
        title=f"Error by noise in the feature{suffix}",
        caption="Gaussian noise on every entry, also on those that are zero. With standard errors "
        "over images.",
        x="noise, by the feature's norm",
        y="rise of the normalised error",
        floor=None,
        ordered=ordered,
    )


def _pictures(label: str, shown: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        shown,
        title=f"Rebuilt from perturbed features: {label}",
        caption="Photographs, and what is rebuilt from their features as they are, from parts of "
        "them, and with noise of so many times their norm added.",
    )
