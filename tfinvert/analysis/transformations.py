"""What is done to photographs to see whether reconstructions follow: turned, shifted, …"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

TURNS = (5.0, 10.0, 20.0, 45.0)
SHIFTS = (1 / 16, 1 / 8, 1 / 4)
SCALES = (1.1, 1.25, 1.5)
BLURS = (1 / 64, 1 / 32, 1 / 16)
_BORDER = cv2.BORDER_REFLECT_101


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
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


def transformations(
    turns: Sequence[float] = TURNS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
) -> list[Transformation]:
    """Those of `invariance`, by kind and in each kind as given."""
    return [
        *[Transformation("turned", x, "°", turn, either_way=True) for x in turns],
        *[Transformation("shifted", x, " widths", shift, either_way=True) for x in shifts],
        *[Transformation("scaled", x, "×", scale) for x in scales],
        Transformation("mirrored", 1.0, "", mirror),
        *[Transformation("blurred", x, " widths", blur) for x in blurs],
    ]


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=_BORDER)


def _middle(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
