"""Sparse SIFT: OpenCV's keypoints and descriptors on a grid with one keypoint per cell.

Dosovitskiy & Brox 2016, section 3. The detector is OpenCV's with VLFeat's default thresholds.
Unlike VLFeat's detector it also searches the image at twice its size and so finds smaller
keypoints.
"""

import dataclasses
import hashlib
from typing import Any

import cv2
import numpy as np

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape
from tfinvert.features.host import HostFeature

DESCRIPTOR_SIZE = 128
CHANNELS = DESCRIPTOR_SIZE + 5
# The channels after the descriptor; x and y are relative to the cell, in pixels.
X, Y, SIN, COS, LOG_SCALE = range(DESCRIPTOR_SIZE, CHANNELS)

DESCRIPTOR_UNIT = 512.0  # OpenCV stores unit vectors as integer multiples of 1/512, up to 255


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """The keypoints of one image.

    Attributes:
      x: column in pixels from the centre of the leftmost pixel, float32 `[n]`.
      y: row in pixels from the centre of the topmost pixel, float32 `[n]`.
      angle: orientation in [0, 2π), clockwise from the positive x axis of the image.
      scale: σ of the Gaussian at which the keypoint was detected, in pixels.
      descriptors: `[n, 128]` in [0, 0.5), with norm about 1.
    """

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: np.ndarray) -> "Keypoints":
        """Returns the keypoints at the given indices."""
        return Keypoints(
            *(getattr(self, field.name)[indices] for field in dataclasses.fields(self))
        )


def keypoints_to_grid(
    keypoints: Keypoints, size: tuple[int, int], cell_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Places one keypoint per cell, drawn at random if a cell has several; empty cells are zero.

    Args:
      keypoints: the keypoints of one image.
      size: (height, width) of the image.
      cell_size: pixels per cell side.
      rng: the random generator of the draw.

    Returns:
      float32 `[⌈height/cell_size⌉, ⌈width/cell_size⌉, 133]`: descriptor, x and y within the cell in
      [0, cell_size], sine and cosine of the angle, natural logarithm of the scale.
    """
    grid = np.zeros((*_cells(size, cell_size), CHANNELS), np.float32)
    if not len(keypoints):
        return grid
    column, row = (
        np.clip(position // cell_size, 0, cells - 1).astype(int)
        for position, cells in ((keypoints.x, grid.shape[1]), (keypoints.y, grid.shape[0]))
    )
    order = rng.permutation(len(keypoints))
    _, first = np.unique(row[order] * grid.shape[1] + column[order], return_index=True)
    chosen = order[first]
    row, column, drawn = row[chosen], column[chosen], keypoints.take(chosen)
    grid[row, column, :DESCRIPTOR_SIZE] = drawn.descriptors
    grid[row, column, X] = drawn.x - column * cell_size
    grid[row, column, Y] = drawn.y - row * cell_size
    grid[row, column, SIN] = np.sin(drawn.angle)
    grid[row, column, COS] = np.cos(drawn.angle)
    grid[row, column, LOG_SCALE] = np.log(drawn.scale)
    return grid


def grid_to_keypoints(grid: np.ndarray, cell_size: int = 4) -> Keypoints:
    """Inverts `keypoints_to_grid`: returns the keypoints of a grid, row by row."""
    row, column = np.nonzero(occupied_cells(grid))
    cells = grid[row, column]
    return Keypoints(
        x=cells[:, X] + column.astype(np.float32) * cell_size,
        y=cells[:, Y] + row.astype(np.float32) * cell_size,
        angle=np.arctan2(cells[:, SIN], cells[:, COS]) % np.float32(2 * np.pi),
        scale=np.exp(cells[:, LOG_SCALE]),
        descriptors=cells[:, :DESCRIPTOR_SIZE],
    )


def occupied_cells(grids: np.ndarray) -> np.ndarray:
    """Mask of the cells that hold a keypoint: `[..., 133]` to bool `[...]`."""
    return np.hypot(grids[..., SIN], grids[..., COS]) > 0.5


class Sift(HostFeature):
    """Sparse SIFT of the grey image on a grid (see `keypoints_to_grid`); without keypoints, zeros.

    The keypoint drawn for a cell depends only on the seed and on the image's pixels, not on the
    order of the images or on the process.

    Args:
      image_shape: (height, width, 3), each side at least one cell.
      cell_size: pixels per cell side; 4 in the paper.
      seed: seed of the draw among the keypoints of a cell, from 0 to 2**32 - 1.
      contrast_threshold: OpenCV's contrast threshold; 0 keeps weak keypoints, as in VLFeat.
      edge_threshold: OpenCV's edge threshold, positive.
    """

    name = "sift"
    decoder = "one_stream"
    thread_safe = True

    def __init__(
        self,
        image_shape: ImageShape = (64, 64, 3),
        cell_size: int = 4,
        seed: int = 0,
        contrast_threshold: float = 0.0,
        edge_threshold: float = 10.0,
    ):
        if cell_size < 1 or contrast_threshold < 0 or not edge_threshold > 0:
            raise InputError(
                "sift needs cell_size of at least 1, contrast_threshold of at least 0 and a "
                f"positive edge_threshold. Received: cell_size={cell_size}, "
                f"contrast_threshold={contrast_threshold}, edge_threshold={edge_threshold}"
            )
        if min(image_shape[:2]) < cell_size:
            raise InputError(
                f"sift with cell_size {cell_size} takes images of at least {cell_size}×{cell_size} "
                f"pixels. Received: {image_shape[0]}×{image_shape[1]}"
            )
        if not 0 <= seed < 2**32:
            raise InputError(f"sift: seed must be from 0 to 2**32 - 1. Received: {seed}")
        self.cell_size, self.seed = int(cell_size), int(seed)
        self.contrast_threshold = float(contrast_threshold)
        self.edge_threshold = float(edge_threshold)
        grid = _cells(image_shape[:2], self.cell_size)
        super().__init__(self._extract, (*grid, CHANNELS), name=self.name, image_shape=image_shape)

    def _compute_batch(self, images: np.ndarray) -> np.ndarray:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the images of a batch already run in parallel threads
        try:
            return super()._compute_batch(images)
        finally:
            cv2.setNumThreads(threads)

    def _extract(self, image: np.ndarray) -> np.ndarray:
        gray = _to_gray(image)
        digest = hashlib.blake2b(gray.tobytes(), digest_size=8).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest, "little")])
        return keypoints_to_grid(self._detect(gray), gray.shape, self.cell_size, rng)

    def _detect(self, gray: np.ndarray) -> Keypoints:
        detector = cv2.SIFT_create(
            contrastThreshold=self.contrast_threshold, edgeThreshold=self.edge_threshold
        )
        points, descriptors = detector.detectAndCompute(gray, None)
        if not points:
            return Keypoints(*(np.zeros(0, np.float32) for _ in range(4)), _NO_DESCRIPTORS)
        x, y, degrees, diameter = np.array(
            [(*point.pt, point.angle, point.size) for point in points], np.float32
        ).T
        return Keypoints(
            x, y, np.deg2rad(degrees), diameter / 2, descriptors / np.float32(DESCRIPTOR_UNIT)
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return super().get_config() | {
            "cell_size": self.cell_size,
            "seed": self.seed,
            "contrast_threshold": self.contrast_threshold,
            "edge_threshold": self.edge_threshold,
        }


_NO_DESCRIPTORS = np.zeros((0, DESCRIPTOR_SIZE), np.float32)


def _cells(size: tuple[int, int], cell_size: int) -> tuple[int, int]:
    return -(-size[0] // cell_size), -(-size[1] // cell_size)


def _to_gray(image: np.ndarray) -> np.ndarray:
    """Converts to 8-bit grey, the input of OpenCV's SIFT: `[H, W, 3]` in [0, 1] to `[H, W]`."""
    pixels = np.clip(np.round(image * 255.0), 0, 255).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
