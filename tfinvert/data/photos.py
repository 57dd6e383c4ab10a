"""Sample photographs from the wheels of scikit-image and scikit-learn: data without a download."""

import numpy as np
import skimage.data
import tensorflow as tf

from tfinvert.data.sources import IndexedSource, compute_digest

NAME = "photos"

# Split by photograph, so that no photograph has crops in both splits. The two views of the
# motorcycle show one scene and are in one split.
SPLITS = {
    "training": ("chelsea", "motorcycle_left", "motorcycle_right", "rocket"),
    "validation": ("coffee", "astronaut"),
}
# Photographs of scikit-learn, which are in neither split; for display.
SCIKIT_LEARN = ("china", "flower")
SPLITS["all"] = SPLITS["training"] + SPLITS["validation"] + SCIKIT_LEARN

_CROPS_PER_PHOTO = 256
_TILES_PER_SIDE = (1, 2)  # tiles along the shorter side, at each scale


def load_photograph(name: str) -> np.ndarray:
    """Loads a sample photograph by name, uint8 `[H, W, 3]`."""
    if name.startswith("motorcycle"):
        left, right, _ = skimage.data.stereo_motorcycle()
        return left if name == "motorcycle_left" else right
    if name in SCIKIT_LEARN:
        import sklearn.datasets  # takes half a second, and training never needs these photographs

        return sklearn.datasets.load_sample_image(f"{name}.jpg")
    return getattr(skimage.data, name)()


class Photos(IndexedSource):
    """The sample photographs, split by photograph.

    A training epoch visits each photograph 256 times, with a different random crop each time. For
    evaluation each photograph is divided into square tiles at two scales.

    Args:
      split: a key of `SPLITS`.
    """

    min_crop = 0.35
    jitter = 0.8  # with three scenes, a network would otherwise memorise colours and brightness

    def __init__(self, split: str = "all"):
        self.name = NAME
        self._photos = [load_photograph(name) for name in SPLITS[split]]
        self._tiles = [tile for photo in self._photos for tile in extract_square_tiles(photo)]

    def __len__(self) -> int:
        return _CROPS_PER_PHOTO * len(self._photos)

    @property
    def evaluation_size(self) -> int:
        """The number of tiles."""
        return len(self._tiles)

    def image(self, index: int) -> np.ndarray:
        """Returns a whole photograph."""
        return self._photos[index % len(self._photos)]

    def identity(self) -> str:
        """See `Source.identity`; computed from the whole photographs."""
        return compute_digest(photo.tobytes() for photo in self._photos)

    def evaluation_images(self) -> tf.data.Dataset:
        """One pass over the tiles."""
        return tf.data.Dataset.from_generator(
            lambda: iter(self._tiles),
            output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
        )


def extract_square_tiles(photo: np.ndarray) -> list[np.ndarray]:
    """Cuts evenly spaced squares at two scales, largest first: uint8 `[side, side, 3]`."""
    height, width = photo.shape[:2]
    tiles = []
    for tiles_per_side in _TILES_PER_SIDE:
        side = min(height, width) // tiles_per_side
        for top in np.linspace(0, height - side, round(height / side)).astype(int):
            for left in np.linspace(0, width - side, round(width / side)).astype(int):
                tiles.append(photo[top : top + side, left : left + side])
    return tiles
