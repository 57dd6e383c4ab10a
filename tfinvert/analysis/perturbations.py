"""Perturbations of features, and the loss of reconstruction quality they cause.

Section 5 of the paper. All perturbations take `[B, ...]`, the features of B images, and return
float32 of that shape. The feature of an image is treated as one vector, whatever its shape; one
that is all zeros stays so. Random perturbations take a generator, so that several features can be
given the same draws.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

# Names in tables and charts.
PLAIN = "unperturbed"
BINARIZED = "binarised"
DROPPED = "dropout 50 %"
DROPPED_BINARIZED = "dropout 50 %, binarised"
LARGEST_BINARIZED = "smallest 50 % zeroed, binarised"
STRUCTURAL = (BINARIZED, DROPPED, DROPPED_BINARIZED, LARGEST_BINARIZED)


class Perturbation(NamedTuple):
    """A perturbation of features.

    Attributes:
      apply: `(features, generator)` gives perturbed features.
      random: whether it draws from the generator.
      level: level of the noise, if it adds noise.
    """

    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    random: bool = False
    level: float | None = None


def binarize(features: np.ndarray) -> np.ndarray:
    """Replaces the magnitudes of an image's entries by one that keeps the L2 norm.

    Signs stay, and zeros stay zeros.
    """
    return _scale_to_norm_of(features, np.sign(features))


def dropout(features: np.ndarray, rng: np.random.Generator, rate: float = 0.5) -> np.ndarray:
    """Zeroes entries at random and scales the others up to keep the L2 norm.

    The rate, in [0, 1], is the probability that an entry is zeroed. A feature without any other
    non-zero entries becomes all zeros.
    """
    kept = rng.random(features.shape, np.float32) >= rate
    return _scale_to_norm_of(features, np.where(kept, features, 0.0))


def keep_largest(features: np.ndarray, fraction: float = 0.5) -> np.ndarray:
    """Zeroes the non-zero entries of smallest magnitude and scales the others to keep the L2 norm.

    Of each image's n non-zero entries, ⌊(1 - fraction)·n⌋ are zeroed; the fraction is in [0, 1].
    Among entries of equal magnitude the first are kept.
    """
    flat = np.abs(features.reshape(len(features), -1))
    count = np.count_nonzero(flat, 1)
    zeroed = np.floor((1.0 - fraction) * count + 1e-9)  # 0.1·10 is a little less than 1
    order = np.argsort(-flat, 1, kind="stable")
    kept = np.empty(flat.shape, bool)
    np.put_along_axis(kept, order, np.arange(flat.shape[1]) < (count - zeroed)[:, None], 1)
    return _scale_to_norm_of(features, np.where(kept.reshape(features.shape), features, 0.0))


def add_noise(features: np.ndarray, rng: np.random.Generator, level: float) -> np.ndarray:
    """Adds Gaussian noise to every entry, including those that are zero.

    The level is the L2 norm of the noise (its root mean square over draws) relative to that of the
    image's feature.
    """
    noise = rng.standard_normal(features.shape, np.float32)
    deviation = level * _norm(features) / np.sqrt(np.prod(features.shape[1:]))
    return (features + deviation * noise).astype(np.float32)


def make_perturbations(levels: Sequence[float]) -> dict[str, Perturbation]:
    """All perturbations by name; `levels` are those of the noise."""
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
    """Name of the noise of a level."""
    return f"noise {level:g}"


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbationLoss:
    """Rise of one inverter's error with the perturbation of its features.

    Attributes:
      label: the inverter's label.
      layer: its layer.
      kind: its kind.
      gain: `[n]`, the normalised error of the mean image less that of the reconstruction from the
        unperturbed feature, by image.
      rises: `[n]` by perturbation, the rise of that error, mean over draws.
    """

    label: str
    layer: str
    kind: str
    gain: np.ndarray
    rises: Mapping[str, np.ndarray]

    @property
    def is_informative(self) -> bool:
        """True if the unperturbed feature gives a better image than the mean."""
        return bool(self.gain.mean() > 0)

    def share_lost(self, *perturbations: str) -> tuple[float, float]:
        """Share of the gain that is lost, (e' - e) / (e_mean - e), and its standard error.

        For several perturbations it is the mean share; the error is over images.
        """
        return ratio_of_means(np.mean([self.rises[key] for key in perturbations], 0), self.gain)

    def share_difference(self, perturbation: str, other: str) -> tuple[float, float]:
        """Share lost by one perturbation less that lost by another, and its standard error."""
        return ratio_of_means(self.rises[perturbation] - self.rises[other], self.gain)


def ratio_of_means(rise: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """Ratio of two means over images, `[n]` each, and its standard error."""
    ratio = rise.mean() / gain.mean()
    return float(ratio), float(scipy.stats.sem(rise - ratio * gain) / gain.mean())


def _norm(features: np.ndarray) -> np.ndarray:
    """L2 norm of each image's feature: `[B, ...]` becomes `[B, 1, ...]`."""
    axes = tuple(range(1, features.ndim))
    return np.sqrt(np.square(features).sum(axes, keepdims=True, dtype=np.float64))


def _scale_to_norm_of(features: np.ndarray, changed: np.ndarray) -> np.ndarray:
    own = _norm(changed)
    factor = np.divide(_norm(features), own, out=np.zeros_like(own), where=own > 0)
    return (changed * factor).astype(np.float32)
