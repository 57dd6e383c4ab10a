"""How much of what a feature gives is lost when it is perturbed."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.stats

from tfinvert.analysis.perturbations import PLAIN
from tfinvert.analysis.result import measured, standard_error

SHARE, SHARE_SE = "share lost", "standard error of the share"
RISE, RISE_SE = "rise", "standard error of the rise"


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
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

    @classmethod
    def of(
        cls, facts: Mapping[str, str], errors: Mapping[str, np.ndarray], nothing: np.ndarray
    ) -> "Loss":
        """From errors by perturbation, `PLAIN` among them, `[draws, n]`, and the mean image's."""
        means = {key: error.mean(0) for key, error in errors.items()}
        rises = {key: mean - means[PLAIN] for key, mean in means.items()}
        own = facts["label"], facts["layer"], facts["kind"]
        return cls(*own, nothing - means[PLAIN], rises)

    @property
    def gains(self) -> bool:
        """Whether the feature gives anything that could be lost."""
        return bool(self.gain.mean() > 0)

    def lost(self, *perturbations: str) -> tuple[float, float]:
        """The share of the gain that is lost, (e' - e) / (e_mean - e), and its standard error.

        Of several perturbations the mean share; the error is over images.
        """
        return share(np.mean([self.rises[key] for key in perturbations], 0), self.gain)

    def further(self, perturbation: str, other: str) -> tuple[float, float]:
        """How much more of the gain is lost by one than by another, likewise."""
        return share(self.rises[perturbation] - self.rises[other], self.gain)

    def row(self, perturbation: str, errors: np.ndarray) -> dict[str, float | None]:
        """What a table says of one perturbation; `errors` are `[draws, n]`."""
        rise, draws = self.rises[perturbation], errors.mean(1)
        lost, width = self.lost(perturbation) if self.gains else (None, None)
        return {
            "normalised error": float(errors.mean()),
            **measured((RISE, RISE_SE), rise),
            SHARE: lost,
            SHARE_SE: width,
            "draws": len(draws),
            "standard error over draws": standard_error(draws) if len(draws) > 1 else None,
        }


def share(rise: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """Ratio of two means over images and its standard error: two of `[n]`."""
    ratio = rise.mean() / gain.mean()
    return float(ratio), float(scipy.stats.sem(rise - ratio * gain) / gain.mean())
