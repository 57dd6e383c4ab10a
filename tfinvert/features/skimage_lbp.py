"""scikit-image's local binary patterns, with hard cell assignment, as a host feature."""

from typing import Any

import numpy as np
import skimage.color
import skimage.feature

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape
from tfinvert.features.host import HostFeature

LABELS = 59  # 8 · 7 with a single run of ones, none, all, and one label for all other patterns


class SkimageLbp(HostFeature):
    """`skimage.feature.local_binary_pattern` in cells: `[H, W, 3]` to `[⌊H/16⌋, ⌊W/16⌋, 59]`.

    The labels are of method "nri_uniform" with eight points at radius 1; diagonal points are
    interpolated, and pixels beyond the border count as 0. A pixel votes for its own cell only. A
    cell's histogram is divided by its sum, and the square root is taken, as in `lbp`.

    Args:
      image_shape: (height, width, 3), each side at least one cell.
      cell_size: pixels per cell side.
    """

    name = "skimage_lbp"

    def __init__(self, image_shape: ImageShape = (64, 64, 3), cell_size: int = 16):
        if cell_size < 1:
            raise InputError(f"skimage_lbp: cell_size must be at least 1. Received: {cell_size}")
        self.cell_size = int(cell_size)
        grid = tuple(side // self.cell_size for side in image_shape[:2])
        super().__init__(self._extract, (*grid, LABELS), name=self.name, image_shape=image_shape)
        if min(grid) < 1:
            raise InputError(
                f"skimage_lbp with cell_size {cell_size} takes images of at least "
                f"{cell_size}×{cell_size} pixels. Received: {image_shape[0]}×{image_shape[1]}"
            )

    def _extract(self, image: np.ndarray) -> np.ndarray:
        # scikit-image warns about floating point images, in which rounding errors create patterns.
        gray = np.round(255 * np.clip(skimage.color.rgb2gray(image), 0, 1)).astype(np.uint8)
        labels = skimage.feature.local_binary_pattern(gray, P=8, R=1, method="nri_uniform")
        rows, columns, _ = self.spec.shape
        side = self.cell_size
        labels = labels[: rows * side, : columns * side].astype(int)
        cells = np.arange(rows * columns).reshape(rows, 1, columns, 1)
        bins = cells * LABELS + labels.reshape(rows, side, columns, side)
        counts = np.bincount(bins.ravel(), minlength=rows * columns * LABELS)
        return np.sqrt(counts.reshape(rows, columns, LABELS) / side**2)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return super().get_config() | {"cell_size": self.cell_size}
