"""What is drawn from models of features, and how far it is from real features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from tfinvert.analysis.result import Row, measured
from tfinvert.analysis.samplers import REAL, Sampler
from tfinvert.analysis.scores import image_contrast
from tfinvert.frechet import frechet_distance
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

SOURCE, ACTIVE, CONTRAST = "features", "active units", "contrast of the images"
# Each with the column of its standard error over draws.
OF_FEATURES = "Fréchet distance", "standard error"
OF_IMAGES = "Fréchet distance of the images", "standard error of the images"
MEASURES = OF_FEATURES, OF_IMAGES
SHOWN = 8
_COMPARED = 128


class Space:
    """Distance to held-out features, `[n, ...]`, along their leading principal components.

    A Fréchet distance in as many dimensions as there are samples would be mostly chance, so at most
    a quarter as many are compared.
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
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], int]:
    """What sources of features give, over several draws; the real ones come first.

    Distances are to the held-out features; those of images are of what is decoded and encoded
    again. Active is the part of the features that is not zero.

    Returns:
      A row for each source; by source, some decoded images of the first draw, `[k, H, W, 3]`; and
      in how many dimensions features are compared.
    """
    size = inverter.feature.image_shape[:2]
    features, other = inverter.encode(learned), inverter.encode(held)
    spaces = Space(other), Space(inverter.encode(resize_images(inverter.invert(other), size)))
    draws, shown, rows = {REAL: [features]}, {}, []
    for i, (name, fit) in enumerate(models.items()):
        model, rng = fit(features), np.random.default_rng([seed, i])
        draws[name] = [model.draw(len(features), rng) for _ in range(repeats)]
    for name, own in draws.items():
        images = [inverter.invert(each) for each in own]
        again = [inverter.encode(resize_images(each, size)) for each in images]
        row: dict[str, Any] = {SOURCE: name}
        for space, columns, drawn in zip(spaces, MEASURES, (own, again), strict=True):
            distances = np.array([space.distance(each) for each in drawn])
            row |= measured(columns, distances)
            if len(own) == 1:
                row[columns[1]] = None
        row[ACTIVE] = float(np.mean([(each != 0).mean() for each in own]))
        row[CONTRAST] = float(np.mean([image_contrast(each).mean() for each in images]))
        rows.append(row)
        shown[name] = images[0][evenly(len(images[0]), SHOWN)]
    return rows, shown, spaces[0].dimensions


def relative(rows: Sequence[Row]) -> pd.DataFrame:
    """Labelled rows with distances, and their errors, in those of the label's real features.

    The error of a single draw, of which nothing is known, becomes 0.
    """
    table = pd.DataFrame(rows)
    real = table[table[SOURCE] == REAL].set_index("label")
    for value, error in MEASURES:
        unit = table["label"].map(real[value])
        table[error] = table[error].astype(float).fillna(0) / unit
        table[value] /= unit
    return table
