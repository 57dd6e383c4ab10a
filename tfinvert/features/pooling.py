"""Bilinear pooling of per-pixel votes into square cells, as VLFeat's HOG and LBP do it."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

Side = int | tf.Tensor  # of an image or a grid: a number where it is known, else a scalar int32
Weights = np.ndarray | tf.Tensor


def spatial_size(images: tf.Tensor) -> tuple[Side, Side]:
    """Height and width of `[B, H, W, ...]`."""
    dynamic = tf.shape(images)
    return tuple(images.shape[i] or dynamic[i] for i in (1, 2))


def pool_cells(votes: tf.Tensor, rows: Weights, columns: Weights) -> tf.Tensor:
    """Sums votes into cells: `[B, h, bins, w]` becomes `[B, cells down, cells across, bins]`.

    With the pixels of a row innermost, both directions are plain matrix products.

    Args:
      votes: of each pixel for each bin.
      rows: `[cells down, h]`, of `bilinear_weights`.
      columns: `[cells across, w]`, likewise.
    """
    bins = votes.shape[2]
    (down, height), (across, width) = (_shape(weights) for weights in (rows, columns))
    pooled = tf.matmul(tf.reshape(votes, (-1, width)), columns, transpose_b=True)
    pooled = tf.reshape(pooled, (-1, height, bins * across))
    pooled = tf.reshape(tf.matmul(rows, pooled), (-1, down, bins, across))
    return tf.transpose(pooled, (0, 1, 3, 2))


def bilinear_weights(pixels: Side, cells: Side, cell_size: int) -> Weights:
    """Bilinear weights of the inner pixels of a line for each cell, float32 `[cells, pixels - 2]`.

    A pixel shares its vote between the two nearest cell centres, by distance:

        cell centres        4           12          20
        weight of cell 1    0 ...  ___---^---___  ... 0

    Returns:
      An array for numbers, and a tensor for tensors.
    """
    if not tf.is_tensor(pixels):
        with tf.init_scope():  # eagerly: a constant
            return bilinear_weights(tf.constant(pixels), tf.constant(cells), cell_size).numpy()
    place, cell = (tf.cast(tf.range(count), tf.float64) for count in (pixels, cells))
    centres = (place + 0.5) / cell_size - 0.5
    distance = tf.abs(centres - cell[:, tf.newaxis])
    return tf.cast(tf.nn.relu(1.0 - distance)[:, 1:-1], tf.float32)


def _shape(weights: Weights) -> tuple[Side, Side]:
    if tf.is_tensor(weights):
        return tuple(tf.unstack(tf.shape(weights), num=2))
    return weights.shape


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
    height, width = spatial_size(labels)
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
    weights = bilinear_weights(pixels, pixels // cell_size, cell_size)
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
