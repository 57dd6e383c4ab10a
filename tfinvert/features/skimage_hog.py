"""scikit-image's HOG, the Dalal-Triggs variant, as a host feature."""

from typing import Any

import numpy as np
import skimage.color
import skimage.feature

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape
from tfinvert.features.host import HostFeature


class SkimageHog(HostFeature):
    """`skimage.feature.hog` of the grey image: `[H, W, 3]` to `[H/8, W/8, 36]` (cell size 8).

    Each cell holds its 9 orientations normalised by each of the four 2×2 blocks it belongs to.
    Edge blocks are repeated, so that the grid has the size of the grid of `hog`.

    Args:
      image_shape: (height, width, 3), each side at least two cells.
      cell_size: pixels per cell side.
    """

    name = "skimage_hog"

    def __init__(self, image_shape: ImageShape = (64, 64, 3), cell_size: int = 8):
        self.cell_size = int(cell_size)
        if cell_size < 2 or min(image_shape[:2]) < 2 * cell_size:
            raise InputError(
                f"skimage_hog takes images of at least 2×2 cells of at least 2×2 pixels. Received: "
                f"{image_shape[0]}×{image_shape[1]} pixels, cell_size {cell_size}"
            )
        grid = (image_shape[0] // cell_size, image_shape[1] // cell_size)
        super().__init__(self._extract, (*grid, 36), name=self.name, image_shape=image_shape)

    def _extract(self, image: np.ndarray) -> np.ndarray:
        blocks = skimage.feature.hog(
            skimage.color.rgb2gray(image),
            orientations=9,
            pixels_per_cell=(self.cell_size, self.cell_size),
            cells_per_block=(2, 2),
            feature_vector=False,
        )  # [rows - 1, columns - 1, 2, 2, 9]: block, cell within the block, orientation
        blocks = np.pad(blocks, [(1, 1), (1, 1), (0, 0), (0, 0), (0, 0)], mode="edge")
        views = [
            blocks[:-1, :-1, 1, 1],
            blocks[:-1, 1:, 1, 0],
            blocks[1:, :-1, 0, 1],
            blocks[1:, 1:, 0, 0],
        ]
        return np.concatenate(views, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return super().get_config() | {"cell_size": self.cell_size}
