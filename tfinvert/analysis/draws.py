"""What is drawn from models of features, and how far it is from real features."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from sklearn.decomposition import PCA

from tfinvert.analysis.samplers import REAL, Sampler
from tfinvert.analysis.scores import image_contrast
from tfinvert.frechet import frechet_distance
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

_COMPARED = 128
SHOWN = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """What a source of features gives, over several draws.

    Attributes:
      feature_distance: Fréchet distance to the held-out features, one for each draw.
      image_distance: the same of what is decoded and encoded again.
      active: part of the features that is not zero.
      contrast: of the decoded images, standard deviation over an image's pixels in [0, 1].
      shown: some decoded images of the first draw, `[k, H, W, 3]`.
    """

    feature_distance: np.ndarray
    image_distance: np.ndarray
    active: float
    contrast: float
    shown: np.ndarray


class Space:
    """Distance to held-out features along their leading principal components.

    A Fréchet distance in as many dimensions as there are samples would be mostly chance, so at most
    a quarter as many are compared.

    Args:
      features: `[n, ...]`, the held-out ones.
    """

    def __init__(self, features: np.ndarray):
        flat = features.reshape(len(features), -1)
        most = max(1, min(len(flat) // 4, _COMPARED, flat.shape[1]))
        self._pca = PCA(most, random_state=0).fit(flat)
        self._features = self._pca.transform(flat)

    @property
    def dimensions(self) -> int:
        """How many components are compared."""
        return self._features.shape[1]

    def distance(self, features: np.ndarray) -> float:
        """Fréchet distance of `[m, ...]` to the held-out features, in their units squared."""
        flat = features.reshape(len(features), -1)
        return frechet_distance(self._pca.transform(flat), self._features)


def drawn_from(
    inverter: Inverter,
    learned: np.ndarray,
    held: np.ndarray,
    models: Mapping[str, Callable[[np.ndarray], Sampler]],
    seed: int,
    repeats: int,
) -> tuple[dict[str, Drawn], int]:
    """By source of features, the real ones first; and in how many dimensions they are compared."""
    size = inverter.feature.image_shape[:2]

    def decoded(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images, and their own features."""
        rebuilt = inverter.invert(features)
        return rebuilt, inverter.encode(resize_images(rebuilt, size))

    def measured(draws: list[np.ndarray]) -> Drawn:
        distances, again, contrasts, shown = [], [], [], None
        for features in draws:
            rebuilt, encoded = decoded(features)
            distances.append(space.distance(features))
            again.append(image_space.distance(encoded))
            contrasts.append(image_contrast(rebuilt).mean())
            if shown is None:
                shown = rebuilt[evenly(len(rebuilt), SHOWN)]
        active = np.mean([(features != 0).mean() for features in draws])
        return Drawn(np.array(distances), np.array(again), float(active), np.mean(contrasts), shown)

    features, other = inverter.encode(learned), inverter.encode(held)
    space, image_space = Space(other), Space(decoded(other)[1])
    outcome = {REAL: measured([features])}
    for i, (name, fit) in enumerate(models.items()):
        model, rng = fit(features), np.random.default_rng([seed, i])
        outcome[name] = measured([model.draw(len(features), rng) for _ in range(repeats)])
    return outcome, space.dimensions
