"""What is done to features to see which part of them carries the image, and what it costs.

Section 5 of the paper. All changes take `[B, ...]`, the features of B images, and give float32 of
that shape. An image's feature is treated as one vector, whatever its shape; one that is all zeros
stays so. The random ones work on any generator, so that two features can be given the same draws.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

# What experiments and charts call them, and combinations of them.
PLAIN = "unperturbed"
BINARIZED = "binarised"
DROPPED = "dropout 50 %"
DROPPED_BINARIZED = "dropout 50 %, binarised"
LARGEST_BINARIZED = "smallest 50 % zeroed, binarised"
STRUCTURAL = (BINARIZED, DROPPED, DROPPED_BINARIZED, LARGEST_BINARIZED)


class Perturbation(NamedTuple):
    """One of those that are compared: what it does, whether it draws, and the level of noise."""

    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    random: bool = False
    level: float | None = None


def binarize(features: np.ndarray) -> np.ndarray:
    """The pattern alone: the sign of every entry, times one magnitude for each image.

    Zeros stay zeros, and the L2 norm of each image's feature is what it was.
    """
    return _with_norm_of(features, np.sign(features))


def dropout(features: np.ndarray, rng: np.random.Generator, rate: float = 0.5) -> np.ndarray:
    """Zeroes entries at random and scales the others up to the L2 norm that was.

    The rate, in [0, 1], is the chance of each entry to be zeroed. Where none but zeros is left,
    there is nothing to scale, and the feature is all zeros.
    """
    kept = rng.random(features.shape, np.float32) >= rate
    return _with_norm_of(features, np.where(kept, features, 0.0))


def keep_largest(features: np.ndarray, fraction: float = 0.5) -> np.ndarray:
    """Zeroes the non-zero entries of smallest magnitude and scales up to the L2 norm that was.

    Of each image's n non-zero entries a fraction is kept, in [0, 1]: ⌊(1 - fraction)·n⌋ are
    zeroed. Of entries of equal magnitude those that come first are kept.
    """
    flat = np.abs(features.reshape(len(features), -1))
    count = np.count_nonzero(flat, 1)
    zeroed = np.floor((1.0 - fraction) * count + 1e-9)  # 0.1·10 is a little less than 1
    order = np.argsort(-flat, 1, kind="stable")
    kept = np.empty(flat.shape, bool)
    np.put_along_axis(kept, order, np.arange(flat.shape[1]) < (count - zeroed)[:, None], 1)
    return _with_norm_of(features, np.where(kept.reshape(features.shape), features, 0.0))


def add_noise(features: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """Adds Gaussian noise to every entry, those that are zero included.

    The level is the noise's L2 norm (its root mean square over draws) by that of the image's
    feature.
    """
    noise = rng.standard_normal(features.shape, np.float32)
    deviation = level * _norm(features) / np.sqrt(np.prod(features.shape[1:]))
    return (features + deviation * noise).astype(np.float32)


def make_perturbations(levels: Sequence[float]) -> dict[str, Perturbation]:
    """All by name; `levels` are those of the noise."""
    return {
        PLAIN: Perturbation(lambda features, _: features),
        BINARIZED: Perturbation(lambda features, _: binarize(features)),
        DROPPED: Perturbation(dropout, random=True),
        DROPPED_BINARIZED: Perturbation(lambda *given: binarize(dropout(*given)), random=True),
        LARGEST_BINARIZED: Perturbation(lambda features, _: binarize(keep_largest(features))),
    } | {
        noise_name(level): Perturbation(
            lambda *given, level=level: add_noise(*given, level), random=True, level=float(level)
        )
        for level in levels
    }


def noise_name(level: float) -> str:
    """What noise of a level is called."""
    return f"noise {level:g}"


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbationLoss:
    """What perturbing one inverter's features did; its label, layer and kind as in tables.

    Attributes:
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

        Of several perturbations the mean share; the error is over images.
        """
        return ratio_of_means(np.mean([self.rises[key] for key in perturbations], 0), self.gain)

    def further(self, perturbation: str, other: str) -> tuple[float, float]:
        """How much more of the gain is lost by one than by another, likewise."""
        return ratio_of_means(self.rises[perturbation] - self.rises[other], self.gain)


def ratio_of_means(rise: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """Ratio of two means over images and its standard error: two of `[n]`."""
    ratio = rise.mean() / gain.mean()
    return float(ratio), float(scipy.stats.sem(rise - ratio * gain) / gain.mean())


def _norm(features: np.ndarray) -> np.ndarray:
    """L2 norm of each image's feature: `[B, ...]` becomes `[B, 1, ...]`."""
    axes = tuple(range(1, features.ndim))
    return np.sqrt(np.square(features).sum(axes, keepdims=True, dtype=np.float64))


def _with_norm_of(features: np.ndarray, changed: np.ndarray) -> np.ndarray:
    own = _norm(changed)
    factor = np.divide(_norm(features), own, out=np.zeros_like(own), where=own > 0)
    return (changed * factor).astype(np.float32)
