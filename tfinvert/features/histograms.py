"""Histograms of labels in square cells that share each pixel, as VLFeat's LBP has them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfinvert.features.pooling import triangles

_LONGEST = 16  # pixels of a piece
_BITS = (9, 12, 12, 16)  # of the sums of 1, x, y and xy over 16 × 16 pixels, x and y below 16


def cell_histograms(labels: tf.Tensor, bins: int, cell_size: int) -> tf.Tensor:
    """How often each label is in each cell, a pixel shared between the four nearest cells.

    A pixel's weight for a cell is linear in its place between two cell centres. So the image is cut
    at the centres, and of a piece and a label four sums say all: those of 1, x, y and xy over the
    pixels. They are small whole numbers: one integer holds the four, and pixels are counted once.

    Args:
      labels: int32 `[B, H - 2, W - 2]` in [0, bins), of the inner pixels of images `[H, W]`.
      bins: the number of labels.
      cell_size: pixels along the side of a cell.

    Returns:
      float32 `[B, ⌊H/cell_size⌋, ⌊W/cell_size⌋, bins]`, the weighted counts.
    """
    height, width = labels.shape[1:]
    down, across = (_line(side + 2, cell_size) for side in (height, width))
    pieces = len(down.constant[0]), len(across.constant[0])
    slots = labels + bins * (down.piece[:, np.newaxis] * pieces[1] + across.piece)
    weights = _packed(down.place[:, np.newaxis], across.place)
    counted = tf.raw_ops.DenseBincount(
        input=tf.reshape(slots, (-1, height * width)),
        size=bins * pieces[0] * pieces[1],
        weights=tf.broadcast_to(weights.reshape(1, -1), (tf.shape(labels)[0], height * width)),
        binary_output=False,
    )
    one, x, y, xy = (tf.reshape(s, (-1, pieces[0], pieces[1] * bins)) for s in _unpacked(counted))
    one, x = (
        tf.matmul(down.constant, sums) + tf.matmul(down.slope, times_y)
        for sums, times_y in ((one, y), (x, xy))
    )
    one, x = (tf.reshape(sums, (-1, pieces[1], bins)) for sums in (one, x))
    pooled = tf.matmul(across.constant, one) + tf.matmul(across.slope, x)
    return tf.reshape(pooled, (-1, len(down.constant), len(across.constant), bins))


class _Line(NamedTuple):
    """The inner pixels of a row or column, in pieces on which all weights are linear.

    Attributes:
      piece: of each pixel, `[pixels]`.
      place: of each pixel in its piece.
      constant, slope: of the weight for each cell, `[cells, pieces]`: at place 0, and by a pixel.
    """

    piece: np.ndarray
    place: np.ndarray
    constant: np.ndarray
    slope: np.ndarray


def _line(pixels: int, cell_size: int) -> _Line:
    weights = triangles(pixels, pixels // cell_size, cell_size)
    between = np.floor((np.arange(1, pixels - 1) + 0.5) / cell_size - 0.5)  # which two centres
    piece, place = np.zeros((2, len(between)), np.int32)
    for i in range(1, len(between)):
        goes_on = between[i] == between[i - 1] and place[i - 1] + 1 < _LONGEST
        place[i] = place[i - 1] + 1 if goes_on else 0
        piece[i] = piece[i - 1] + (not goes_on)
    first = np.flatnonzero(place == 0)
    last = np.append(first[1:], len(place)) - 1
    rise = weights[:, last] - weights[:, first]
    length = np.maximum(place[last], 1).astype(np.float32)
    return _Line(piece, place, weights[:, first], rise / length)


def _packed(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    parts = np.broadcast_arrays(np.int64(1), x, y, y * x)
    return sum(part.astype(np.int64) << at for part, at in zip(parts, _starts(), strict=True))


def _unpacked(sums: tf.Tensor) -> list[tf.Tensor]:
    return [
        tf.cast(tf.bitwise.right_shift(sums, np.int64(at)) & ((1 << bits) - 1), tf.float32)
        for at, bits in zip(_starts(), _BITS, strict=True)
    ]


def _starts() -> list[int]:
    return [sum(_BITS[:i]) for i in range(len(_BITS))]
