"""Sparse SIFT: OpenCV's keypoints and descriptors on a grid, one keypoint a cell, and back.

Dosovitskiy & Brox 2016, section 3. The detector is OpenCV's with the thresholds VLFeat defaults
to; unlike VLFeat's it also searches the image at twice its size, and so finds smaller keypoints.
"""

import dataclasses
import hashlib
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape
from tfinvert.features.host import HostFeature

DESCRIPTOR_SIZE = 128
CHANNELS = DESCRIPTOR_SIZE + 5
# What follows the descriptor in a cell; x and y within the cell, in pixels.
X, Y, SIN, COS, LOG_SCALE = range(DESCRIPTOR_SIZE, CHANNELS)

DESCRIPTOR_UNIT = 512.0  # OpenCV stores unit vectors as whole numbers of 1/512, up to 255


@dataclasses.dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image.

    Attributes:
      x: columns, in pixels from the centre of the leftmost: float32 `[n]`.
      y: rows, likewise.
      angle: orientations in [0, 2π), clockwise from the right on the screen.
      scale: σ of the Gaussian they were found at, in pixels.
      descriptors: `[n, 128]` in [0, 0.5), of norm about 1.
    """

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: np.ndarray) -> "Keypoints":
        """Those at the indices."""
        return Keypoints(
            *(getattr(self, field.name)[indices] for field in dataclasses.fields(self))
        )


def keypoints_to_grid(
    keypoints: Keypoints, size: tuple[int, int], cell_size: int, rng: np.random.Generator
) -> np.ndarray:
    """One keypoint a cell, drawn at random where there are several; zeros where there is none.

    Args:
      keypoints: of one image.
      size: (height, width) of the image.
      cell_size: pixels along the side of a cell.
      rng: draws.

    Returns:
      float32 `[⌈height/cell⌉, ⌈width/cell⌉, 133]`: descriptor, x and y within the cell in [0,
      cell_size], sine and cosine of the angle, natural logarithm of the scale.
    """
    grid = np.zeros((*_cells(size, cell_size), CHANNELS), np.float32)
    if not len(keypoints):
        return grid
    column, row = (
        np.clip(place // cell_size, 0, cells - 1).astype(int)
        for place, cells in ((keypoints.x, grid.shape[1]), (keypoints.y, grid.shape[0]))
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
    """The inverse of `keypoints_to_grid`: the keypoints a grid holds, row by row."""
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
    """Which cells hold a keypoint: `[..., 133]` becomes bool `[...]`."""
    return np.hypot(grids[..., SIN], grids[..., COS]) > 0.5


class Sift(HostFeature):
    """Sparse SIFT of the grey image on a grid (see `keypoints_to_grid`); no keypoint at all gives zeros.

    Which keypoint a cell keeps depends on the seed and on the image's own pixels, so it is the
    same in every order of the images and in every process.

    Args:
      image_shape: (height, width, 3), each side at least one cell.
      cell_size: pixels along the side of a cell; the paper's is 4.
      seed: of the draw among the keypoints of a cell.
      contrast_threshold: of OpenCV's detector; 0 keeps weak keypoints, as VLFeat does.
      edge_threshold: of OpenCV's detector.
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
                "sift takes cell_size of at least 1, contrast_threshold of at least 0 and a "
                f"positive edge_threshold. Received: {cell_size}, {contrast_threshold}, "
                f"{edge_threshold}"
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

    def _batch(self, images: tf.Tensor) -> np.ndarray:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # every image has a thread already; more would get in their way
        try:
            return super()._batch(images)
        finally:
            cv2.setNumThreads(threads)

    def _extract(self, image: np.ndarray) -> np.ndarray:
        grey = _grey(image)
        pixels = hashlib.blake2b(grey.tobytes(), digest_size=8).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(pixels, "little")])
        return keypoints_to_grid(self._detect(grey), grey.shape, self.cell_size, rng)

    def _detect(self, grey: np.ndarray) -> Keypoints:
        detector = cv2.SIFT_create(
            contrastThreshold=self.contrast_threshold, edgeThreshold=self.edge_threshold
        )
        found, descriptors = detector.detectAndCompute(grey, None)
        if not found:
            return Keypoints(*(np.zeros(0, np.float32) for _ in range(4)), _NO_DESCRIPTOR)
        x, y, degrees, diameter = np.array(
            [(*point.pt, point.angle, point.size) for point in found], np.float32
        ).T
        return Keypoints(
            x, y, np.deg2rad(degrees), diameter / 2, descriptors / np.float32(DESCRIPTOR_UNIT)
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return super().get_config() | {
            "cell_size": self.cell_size,
            "seed": self.seed,
            "contrast_threshold": self.contrast_threshold,
            "edge_threshold": self.edge_threshold,
        }


_NO_DESCRIPTOR = np.zeros((0, DESCRIPTOR_SIZE), np.float32)


def _cells(size: tuple[int, int], cell_size: int) -> tuple[int, int]:
    return -(-size[0] // cell_size), -(-size[1] // cell_size)


def _grey(image: np.ndarray) -> np.ndarray:
    """8-bit grey, which is what OpenCV's SIFT takes: `[H, W, 3]` in [0, 1] becomes `[H, W]`."""
    pixels = np.clip(np.round(image * 255.0), 0, 255).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
