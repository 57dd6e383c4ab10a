"""VLFeat's UoCTTI variant of HOG as batched Keras operations (`vl/hog.c`, `VlHogVariantUoctti`).

Histograms of oriented gradients after Felzenszwalb et al.: for each cell 18 directed and 9
undirected orientations and 4 texture energies, 31 channels. The values equal VLFeat's for the same
pixels in [0, 1], with orientations assigned to the nearest bin rather than bilinearly.
"""

from typing import Any

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape
from tfinvert.features.grayscale import rgb_to_luma
from tfinvert.features.pooling import Side, bilinear_weights, pool_cells

ORIENTATIONS = 9
CHANNELS = 3 * ORIENTATIONS + 4


def cells_per_side(pixels: Side, cell_size: int = 8) -> Side:
    """Number of cells along an image side: 64 pixels give 8, 67 give 8, 68 give 9 (cell size 8)."""
    return (pixels + cell_size // 2) // cell_size


def hog(images: Tensor, cell_size: int = 8) -> Tensor:
    """Computes HOG: `[B, H, W, C]` to `[B, ⌊(H+4)/8⌋, ⌊(W+4)/8⌋, 31]` (cell size 8).

    At each pixel the input channel with the largest gradient is used, as in VLFeat. The output
    channels are the directed orientations (18), the undirected orientations (9), and the texture
    energies of the four blocks around the cell: top left, top right, bottom left, bottom right.

    Args:
      images: float32 in [0, 1], with a static number of channels.
      cell_size: pixels per cell side.
    """
    histogram = _histogram(*_gradient(images), ops.shape(images)[1:3], cell_size)
    return _normalize(histogram)


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences dx and dy of the inner pixels, each `[B, H-2, W-2]`."""
    dx = images[:, 1:-1, 2:] - images[:, 1:-1, :-2]
    dy = images[:, 2:, 1:-1] - images[:, :-2, 1:-1]
    best_x, best_y = dx[..., 0], dy[..., 0]
    best = best_x * best_x + best_y * best_y
    for channel in range(1, images.shape[-1]):
        x, y = dx[..., channel], dy[..., channel]
        square = x * x + y * y
        larger = square > best
        best_x = ops.where(larger, x, best_x)
        best_y = ops.where(larger, y, best_y)
        best = ops.maximum(square, best)
    return best_x, best_y


def _histogram(dx: Tensor, dy: Tensor, size: tuple[Side, Side], cell_size: int) -> Tensor:
    """Gradient magnitude by directed orientation, pooled bilinearly: `[B, cells, cells, 18]`."""
    # Bounded away from zero, where the derivative of the square root would make gradients NaN.
    magnitude = ops.sqrt(ops.maximum(dx * dx + dy * dy, 1e-20))
    orientation = _orientation(dx, dy)
    directed = np.arange(2 * ORIENTATIONS, dtype=np.int32)[:, np.newaxis]
    votes = ops.where(orientation[:, :, None] == directed, magnitude[:, :, None], 0.0)
    rows, columns = (
        bilinear_weights(side, cells_per_side(side, cell_size), cell_size) for side in size
    )
    return pool_cells(votes, rows, columns)


def _orientation(dx: Tensor, dy: Tensor) -> Tensor:
    """Index of the nearest direction k·20°, k < 18, int32; ties go to the first, as in VLFeat."""
    best, orientation = None, None
    for k in range(ORIENTATIONS):
        angle = k * np.pi / ORIENTATIONS
        score = dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))
        directed = ops.where(score < 0, k + ORIENTATIONS, k)
        size = ops.abs(score)
        if k == 0:
            best, orientation = size, directed
        else:
            larger = size > best
            orientation = ops.where(larger, directed, orientation)
            best = ops.maximum(size, best)
    return orientation


def _normalize(histogram: Tensor) -> Tensor:
    """Divides each cell by the norms of its four 2×2 blocks, clips and sums: 18 to 31 channels."""
    undirected = histogram[..., :ORIENTATIONS] + histogram[..., ORIENTATIONS:]
    energy = ops.sum(undirected * undirected, -1)
    # Border cells are repeated.
    energy = ops.concatenate([energy[:, :1], energy, energy[:, -1:]], 1)
    energy = ops.concatenate([energy[:, :, :1], energy, energy[:, :, -1:]], 2)
    blocks = energy[:, 1:, 1:] + energy[:, :-1, 1:] + energy[:, 1:, :-1] + energy[:, :-1, :-1]
    inverse = ops.rsqrt(blocks + 1e-4)[..., None]
    directed_sum, undirected_sum, texture = 0.0, 0.0, []
    for factor in (
        inverse[:, :-1, :-1],
        inverse[:, :-1, 1:],
        inverse[:, 1:, :-1],
        inverse[:, 1:, 1:],
    ):
        directed_sum += ops.minimum(histogram * factor, 0.2)
        clipped = ops.minimum(undirected * factor, 0.2)
        undirected_sum += clipped
        texture.append(ops.sum(clipped, -1, keepdims=True) / np.float32(np.sqrt(18)))
    return ops.concatenate([0.5 * directed_sum, 0.5 * undirected_sum, *texture], -1)


class Hog(Feature):
    """HOG of the grey image, as inverted in the paper (section 3), or of the colour image.

    Args:
      image_shape: (height, width, 3); each side at least half a cell and 3 pixels.
      cell_size: pixels per cell side.
      color: False converts to grey first (ITU-R 601 luma); True uses the colour channel with the
        largest gradient at each pixel, as in VLFeat.
    """

    name = "hog"
    receptive_field_radius = 3

    def __init__(
        self, image_shape: ImageShape = (64, 64, 3), cell_size: int = 8, color: bool = False
    ):
        super().__init__(image_shape)
        if cell_size < 2:
            raise InputError(f"hog: cell_size must be at least 2. Received: {cell_size}")
        smallest = max(3, cell_size - cell_size // 2)
        if min(self.image_shape[:2]) < smallest:
            raise InputError(
                f"hog with cell_size {cell_size} takes images of at least {smallest}×{smallest} "
                f"pixels. Received: {self.image_shape[0]}×{self.image_shape[1]}"
            )
        self.cell_size = int(cell_size)
        self.color = bool(color)

    @property
    def spec(self) -> FeatureSpec:
        """`[grid rows, grid columns, 31]` float32."""
        grid = (cells_per_side(side, self.cell_size) for side in self.image_shape[:2])
        return FeatureSpec((*grid, CHANNELS))

    def compute(self, images: Tensor) -> Tensor:
        """Computes HOG: `[B, H, W, 3]` in [0, 1] to `[B, *spec.shape]`, each value in [0, 1]."""
        if not self.color:
            images = rgb_to_luma(images)
        return hog(images, self.cell_size)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return super().get_config() | {"cell_size": self.cell_size, "color": self.color}
