"""The experiments by name, and the shipped inverters each looks at unless told otherwise.

Every experiment is a function of inverters by name, from the first layer to the last, and images,
`[n, H, W, 3]` in [0, 1], of the size the features take. Of its settings `seed` is that of whatever
it draws, and `parts` keeps what takes minutes, of each inverter. Its docstring says the others.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfinvert.analysis import (
    compare,
    comparison,
    contrast,
    interpolate,
    keypoints,
    privacy,
    sample,
    uncertainty,
    units,
)
from tfinvert.analysis.experiments import (
    color,
    depth,
    invariance,
    iterate,
    layers,
    perturb,
    position,
    probabilities,
)
from tfinvert.analysis.result import Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.alexnet import PAPER_LAYERS


class Experiment(NamedTuple):
    """One of the paper's questions.

    Attributes:
      run: `(inverters, images, **settings)` gives a `Result`.
      shipped: names of inverters that come with the package.
      check: raises `InputError` for an inverter that the question cannot be asked of.
    """

    run: Callable[..., Result]
    shipped: Sequence[str]
    check: Callable[[str, Inverter], None] = lambda name, inverter: None

    @property
    def default_inverters(self) -> Sequence[str]:
        """Names of the shipped inverters it takes by default."""
        return self.shipped

    @property
    def on_request(self) -> bool:
        """Whether it runs only when it is named."""
        return self is EXPERIMENTS["baselines"]

    def accepts(self, name: str, inverter: Inverter) -> bool:
        """Whether it can take an inverter."""
        return self.fits(name, inverter)

    def fits(self, name: str, inverter: Inverter) -> bool:
        """Whether `check` lets it pass."""
        try:
            self.check(name, inverter)
        except InputError:
            return False
        return True

    def ask(
        self, inverters: dict[str, Inverter], images: np.ndarray, settings: Mapping[str, Any]
    ) -> Result:
        """Runs it with those of the settings that it has."""
        known = inspect.signature(self.run).parameters
        own = {name: value for name, value in settings.items() if name in known}
        return self.run(inverters, images, **own)


def _alexnet(*layers: str) -> list[str]:
    return [f"alexnet-{layer}-64" for layer in layers]


_ALL = _alexnet(*PAPER_LAYERS)
_FC = _alexnet("conv5", "fc6", "fc7", "fc8")

EXPERIMENTS = {
    "baselines": Experiment(comparison.baselines, ["hog-64", "lbp-64", "sift-64"]),
    "layers": Experiment(layers.layers, _ALL),
    "perturb": Experiment(perturb.perturb, _FC, perturb.check),
    "probabilities": Experiment(
        probabilities.probabilities, _alexnet("fc8", "probabilities"), probabilities.check
    ),
    "color": Experiment(color.color, _ALL),
    "position": Experiment(position.position, _ALL),
    "interpolate": Experiment(interpolate.interpolate, _FC),
    "sample": Experiment(sample.sample, _FC, sample.check),
    "units": Experiment(units.units, _FC, units.check),
    "invariance": Experiment(invariance.invariance, _ALL),
    "iterate": Experiment(iterate.iterate, _ALL),
    "compare": Experiment(compare.compare, _alexnet("conv5", "fc6"), compare.check),
    "uncertainty": Experiment(uncertainty.uncertainty, _ALL, uncertainty.check),
    "contrast": Experiment(contrast.contrast, ["hog-64", "lbp-64"]),
    "keypoints": Experiment(keypoints.keypoints, ["sift-64"], keypoints.check),
    "depth": Experiment(depth.depth, _ALL, depth.check),
    "privacy": Experiment(
        privacy.privacy, ["hog-64", "sift-64", "alexnet-conv5-64", "alexnet-fc7-64"], privacy.check
    ),
}
