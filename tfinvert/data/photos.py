"""Photographs inside the wheels of scikit-image and scikit-learn: data without a network."""

import numpy as np
import skimage.data
import tensorflow as tf

from tfinvert.data.sources import IndexedSource, compute_digest

NAME = "photos"

# By photograph, so that no crop of a photograph in one part is ever seen in the other; the
# motorcycle is one scene photographed twice, so both views are in one part.
SPLITS = {
    "training": ("chelsea", "motorcycle_left", "motorcycle_right", "rocket"),
    "validation": ("coffee", "astronaut"),
}
# Two of scikit-learn's, which are in neither part: to look at.
SCIKIT_LEARN = ("china", "flower")
SPLITS["all"] = SPLITS["training"] + SPLITS["validation"] + SCIKIT_LEARN

_CROPS_PER_PHOTO = 256
_TILES_ACROSS = (1, 2)  # tiles along the shorter side


def load_photograph(name: str) -> np.ndarray:
    """One of the embedded photographs by name, uint8 `[H, W, 3]`."""
    if name.startswith("motorcycle"):
        left, right, _ = skimage.data.stereo_motorcycle()
        return left if name == "motorcycle_left" else right
    if name in SCIKIT_LEARN:
        import sklearn.datasets  # half a second, for two photographs that training never asks for

        return sklearn.datasets.load_sample_image(f"{name}.jpg")
    return getattr(skimage.data, name)()


class Photos(IndexedSource):
    """Embedded photographs, split by photograph.

    In training an epoch visits each photograph 256 times, for another random crop each time. Read
    once, each photograph gives square tiles at two scales.

    Args:
      part: a key of `SPLITS`.
    """

    min_crop = 0.35
    jitter = 0.8  # three scenes teach edges; their colours and brightness would be learnt by heart

    def __init__(self, part: str = "all"):
        self.name = NAME
        self._photos = [load_photograph(name) for name in SPLITS[part]]
        self._tiles = [tile for photo in self._photos for tile in extract_square_tiles(photo)]

    def __len__(self) -> int:
        return _CROPS_PER_PHOTO * len(self._photos)

    @property
    def evaluation_size(self) -> int:
        """The number of tiles."""
        return len(self._tiles)

    def image(self, index: int) -> np.ndarray:
        """A whole photograph."""
        return self._photos[index % len(self._photos)]

    def identity(self) -> str:
        """See `Source.identity`; from the whole photographs."""
        return compute_digest(photo.tobytes() for photo in self._photos)

    def once(self) -> tf.data.Dataset:
        """Every tile once."""
        return tf.data.Dataset.from_generator(
            lambda: iter(self._tiles),
            output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
        )


def extract_square_tiles(photo: np.ndarray) -> list[np.ndarray]:
    """Squares spread over a photograph at two scales, largest first: uint8 `[side, side, 3]`."""
    height, width = photo.shape[:2]
    tiles = []
    for across in _TILES_ACROSS:
        side = min(height, width) // across
        for top in np.linspace(0, height - side, round(height / side)).astype(int):
            for left in np.linspace(0, width - side, round(width / side)).astype(int):
                tiles.append(photo[top : top + side, left : left + side])
    return tiles
