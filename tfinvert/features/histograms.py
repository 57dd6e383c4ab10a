"""Histograms of labels in square cells that share each pixel, as VLFeat's LBP has them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfinvert.features.pooling import Side, sides, triangles

Values = np.ndarray | tf.Tensor

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
    height, width = sides(labels)
    down, across = (_line(side + 2, cell_size) for side in (height, width))
    pieces = down.pieces, across.pieces
    slots = labels + bins * (down.piece[:, np.newaxis] * pieces[1] + across.piece)
    weights = _packed(down.place[:, np.newaxis], across.place)
    counted = tf.raw_ops.DenseBincount(
        input=tf.reshape(slots, (-1, height * width)),
        size=bins * pieces[0] * pieces[1],
        weights=tf.broadcast_to(
            tf.reshape(weights, (1, -1)), (tf.shape(labels)[0], height * width)
        ),
        binary_output=False,
    )
    one, x, y, xy = (tf.reshape(s, (-1, pieces[0], pieces[1] * bins)) for s in _unpacked(counted))
    one, x = (
        tf.matmul(down.constant, sums) + tf.matmul(down.slope, times_y)
        for sums, times_y in ((one, y), (x, xy))
    )
    one, x = (tf.reshape(sums, (-1, pieces[1], bins)) for sums in (one, x))
    pooled = tf.matmul(across.constant, one) + tf.matmul(across.slope, x)
    return tf.reshape(pooled, (-1, down.cells, across.cells, bins))


class _Line(NamedTuple):
    """The inner pixels of a row or column, in pieces on which all weights are linear.

    Attributes:
      cells, pieces: how many.
      piece: of each pixel, `[pixels]`.
      place: of each pixel in its piece.
      constant, slope: of the weight for each cell, `[cells, pieces]`: at place 0, and by a pixel.
    """

    cells: Side
    pieces: Side
    piece: Values
    place: Values
    constant: Values
    slope: Values


def _line(pixels: Side, cell_size: int) -> _Line:
    if tf.is_tensor(pixels):
        return _Line(pixels // cell_size, *_pieces(pixels, cell_size))
    with tf.init_scope():  # once, eagerly: what follows are constants
        count, *values = (part.numpy() for part in _pieces(tf.constant(pixels), cell_size))
    return _Line(pixels // cell_size, int(count), *values)


def _pieces(pixels: tf.Tensor, cell_size: int) -> tuple[tf.Tensor, ...]:
    """A `_Line` without its cells."""
    weights = triangles(pixels, pixels // cell_size, cell_size)
    inner = tf.range(1, pixels - 1)
    # Between which two centres, counted from half a cell before the first.
    _, _, counts = tf.unique_with_counts((2 * inner + 1 + cell_size) // (2 * cell_size))
    within = tf.ragged.range(counts).flat_values
    place = within % _LONGEST
    piece = tf.cumsum(tf.cast(place == 0, tf.int32)) - 1
    first = tf.where(place == 0)[:, 0]
    last = tf.concat([first[1:], tf.shape(place, tf.int64)], 0) - 1
    start, end = tf.gather(weights, first, axis=1), tf.gather(weights, last, axis=1)
    length = tf.cast(tf.maximum(last - first, 1), tf.float32)
    return tf.size(first), piece, place, start, (end - start) / length


def _packed(y: Values, x: Values) -> tf.Tensor:
    y, x = tf.cast(y, tf.int64), tf.cast(x, tf.int64)
    one, of_x, of_y, of_xy = (1 << at for at in _starts())
    return one + of_x * x + of_y * y + of_xy * y * x


def _unpacked(sums: tf.Tensor) -> list[tf.Tensor]:
    return [
        tf.cast(tf.bitwise.right_shift(sums, np.int64(at)) & ((1 << bits) - 1), tf.float32)
        for at, bits in zip(_starts(), _BITS, strict=True)
    ]


def _starts() -> list[int]:
    return [sum(_BITS[:i]) for i in range(len(_BITS))]
