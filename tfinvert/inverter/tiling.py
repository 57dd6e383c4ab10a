"""Images of any size: brought to whole cells, and large ones taken in pieces that overlap.

The pieces overlap by all that a pixel can depend on, so that what comes out is what the whole would
have given, and has no seams.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

Compute = Callable[[np.ndarray], tf.Tensor]

MAX_TILE_PIXELS = 2**22  # that are taken at once
MAX_BATCH_SIZE = 64  # images, at most


def batch_size_for(size: Sequence[int]) -> int:
    """Images of a (height, width) that are taken together."""
    return max(1, min(MAX_BATCH_SIZE, MAX_TILE_PIXELS // math.prod(size)))


def pad_to_multiple(images: np.ndarray, multiple: int) -> np.ndarray:
    """Images with sides that are multiples: `[B, H, W, 3]` grows below and on the right."""
    more = [(0, -side % multiple) for side in images.shape[1:3]]
    return np.pad(images, [(0, 0), *more, (0, 0)], "symmetric") if np.any(more) else images


def compute_feature_tiled(
    compute: Compute, image: np.ndarray, cell: int, reach: int | None
) -> np.ndarray:
    """A feature of one image, computed in bands of rows: `[H, W, 3]` becomes `[h, w, c]`.

    Args:
      compute: the feature of `[1, H, W, 3]`.
      image: of whole cells.
      cell: pixels along a cell.
      reach: cells from a cell beyond which no pixel counts; None takes the image whole.
    """
    rows, columns = image.shape[0] // cell, image.shape[1] // cell
    band = max(1, MAX_TILE_PIXELS // (columns * cell**2)) if reach is not None else rows
    parts = []
    for begin, end, low, high in _pieces(rows, band, reach or 0, 1):
        part = compute(image[np.newaxis, low * cell : high * cell]).numpy()[0]
        parts.append(part[begin - low : end - low])
    return np.concatenate(parts)


def decode_tiled(
    decode: Compute, features: np.ndarray, pixels: int, reach: int, multiple: int
) -> np.ndarray:
    """The reconstruction from one image's features, tile by tile: `[h, w, c]` becomes `[H, W, 3]`.

    Args:
      decode: the image of `[1, h, w, c]`.
      features: of one image.
      pixels: along a cell, of the reconstruction.
      reach: cells from a pixel beyond which none counts for it.
      multiple: of which both sides of a piece must be.
    """
    rows, columns = features.shape[:2]
    image = np.empty((rows * pixels, columns * pixels, 3), np.float32)
    side = max(1, int(MAX_TILE_PIXELS**0.5) // pixels // multiple) * multiple
    for top, bottom, low, high in _pieces(rows, side, reach, multiple):
        for left, right, near, far in _pieces(columns, side, reach, multiple):
            part = decode(features[np.newaxis, low:high, near:far]).numpy()[0]
            image[top * pixels : bottom * pixels, left * pixels : right * pixels] = part[
                (top - low) * pixels : (bottom - low) * pixels,
                (left - near) * pixels : (right - near) * pixels,
            ]
    return image


def _pieces(
    count: int, size: int, margin: int, multiple: int
) -> Iterator[tuple[int, int, int, int]]:
    """(begin, end) of each piece of a line, and (low, high) of the piece with its margins."""
    margin = -(-margin // multiple) * multiple
    for begin in range(0, count, size):
        end = min(begin + size, count)
        yield begin, end, max(0, begin - margin), min(count, end + margin)
