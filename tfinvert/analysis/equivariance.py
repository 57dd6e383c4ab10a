"""How far reconstructions follow a change: ratios of sums over images, and their errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from tfinvert import metrics
from tfinvert.analysis.result_cache import Arrays
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.inverter import Inverter

ROTATIONS = (5.0, 10.0, 20.0, 45.0)
SHIFTS = (1 / 16, 1 / 8, 1 / 4)
SCALES = (1.1, 1.25, 1.5)
BLURS = (1 / 64, 1 / 32, 1 / 16)
_BORDER = cv2.BORDER_REFLECT_101


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its middle, anticlockwise: `[H, W, 3]` in [0, 1], as the following."""
    return _warp(image, cv2.getRotationMatrix2D(_middle(image), degrees, 1.0))


def shift(image: np.ndarray, fraction: float) -> np.ndarray:
    """Moved to the right by a fraction of its width."""
    return _warp(image, np.float64([[1, 0, fraction * image.shape[1]], [0, 1, 0]]))


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarged about its middle."""
    return _warp(image, cv2.getRotationMatrix2D(_middle(image), 0.0, factor))


def mirror(image: np.ndarray, _: float) -> np.ndarray:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def blur(image: np.ndarray, fraction: float) -> np.ndarray:
    """Blurred by a Gaussian whose standard deviation is a fraction of the width."""
    return cv2.GaussianBlur(image, (0, 0), fraction * image.shape[1], borderType=_BORDER)


class Transformation(NamedTuple):
    """A change of images, the same at every size.

    Attributes:
      name: what has happened to the image.
      strength: in its unit, which is a word behind the number.
      function: `(image, strength)` gives an image.
      either_way: whether a negative strength goes the other way.
    """

    name: str
    strength: float
    unit: str
    function: Callable[[np.ndarray, float], np.ndarray]
    either_way: bool = False

    @property
    def label(self) -> str:
        """With its strength, for example "turned 20°"."""
        return f"{self.name} {self.strength:.3g}{self.unit}" if self.unit else self.name

    def __call__(self, images: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """`[n, H, W, 3]` in [0, 1] transformed; `ways` are `[n]`, 1 or -1."""
        strengths = self.strength * (ways if self.either_way else np.ones(len(images)))
        return np.stack(
            [self.function(*each) for each in zip(images, strengths.tolist(), strict=True)]
        )


def make_transformations(
    turns: Sequence[float] = ROTATIONS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
) -> list[Transformation]:
    """Those of `invariance`, by kind and in each kind as given."""
    return [
        *[Transformation("turned", x, "°", rotate, either_way=True) for x in turns],
        *[Transformation("shifted", x, " widths", shift, either_way=True) for x in shifts],
        *[Transformation("scaled", x, "×", scale) for x in scales],
        Transformation("mirrored", 1.0, "", mirror),
        *[Transformation("blurred", x, " widths", blur) for x in blurs],
    ]


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=_BORDER)


def _middle(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2


AVERAGE = "average"
_BATCH = 64
_PAIRED = 128  # photographs whose features are measured against each other


def equivariance_projection(
    rebuilt: np.ndarray, moved: np.ndarray, of_moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a reconstruction's change has in common with the change it would have to make.

    Of what is `rebuilt` from photographs, `[n, H, W, 3]`, the same transformed (`moved`), and what
    is rebuilt from the transformed photographs (`of_moved`) it gives <of_moved - rebuilt,
    moved - rebuilt> and ‖moved - rebuilt‖², `[n]` each. Their ratio is 1 if the reconstruction
    follows exactly, and 0 if it stays.
    """
    wanted, found = (moved - rebuilt).astype(np.float64), of_moved - rebuilt
    return np.einsum("nhwc,nhwc->n", found, wanted), np.einsum("nhwc,nhwc->n", wanted, wanted)


def ratio_of_sums(
    numerators: np.ndarray, denominators: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of sums over images, of k measures and n images, and what each image does to them.

    Numerators and denominators, not all 0, are `[k, n]`; they become the ratios, `[k]`, and the
    images' influences, `[k, n]`: how far each moves the ratio, to first order. `influence_standard_error` of
    them, or of their mean over measures, is that of the ratio, or of the mean of the ratios.
    """
    total = denominators.sum(1, keepdims=True)
    ratio = numerators.sum(1, keepdims=True) / total
    return ratio[:, 0], (numerators - ratio * denominators) / total


def influence_standard_error(influences: np.ndarray) -> np.ndarray:
    """Of what `ratio_of_sums` gives: `[..., n]` becomes `[...]`."""
    count = influences.shape[-1]
    return np.sqrt(count / (count - 1) * np.square(influences).sum(-1))


def average_strengths(
    values: np.ndarray, influences: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean and standard error of each transformation's strengths, and "of" all as `AVERAGE`.

    In the latter, transformations count equally, however many strengths they have. The values,
    `[k]`, and influences, `[k, n]`, are those of `ratio_of_sums`, the names those of k transformations.
    """
    each = pd.DataFrame(np.column_stack([values, influences])).groupby(np.array(names), sort=False)
    means = each.mean()
    means.loc[AVERAGE] = means.mean()
    errors = influence_standard_error(means.iloc[:, 1:].to_numpy())
    table = pd.DataFrame({"of": means.index, "mean": means[0].to_numpy(), "±": errors})
    return table.to_dict("records")


def measure_equivariance(
    inverter: Inverter, images: np.ndarray, ways: np.ndarray, changes: Sequence[Transformation]
) -> Arrays:
    """`equivariance_projection` of each transformation and image, and the mean change of the feature.

    Returns:
      "shared" and "wanted", `[transformations, n]`, and "moved", `[transformations]`.
    """
    shared, wanted, moved = np.zeros((3, len(changes), len(images)))
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        features = inverter.encode(images[part])
        rebuilt = inverter.invert(features)
        for i, change in enumerate(changes):
            others = inverter.encode(change(images[part], ways[part]))
            moved[i, part] = metrics.per_image_distance(features, others)
            shared[i, part], wanted[i, part] = equivariance_projection(
                rebuilt, change(rebuilt, ways[part]), inverter.invert(others)
            )
    few = inverter.encode(images[evenly_spaced_indices(len(images), _PAIRED)])
    moved = moved.mean(1) / metrics.mean_pairwise_distance(few)
    return {"shared": shared, "wanted": wanted, "moved": moved}
