"""Bilinear pooling of per-pixel votes and labels into square cells, as in VLFeat's HOG and LBP."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

Side = int | tf.Tensor  # of an image or a grid: an integer if static, else a scalar int32 tensor
Array = np.ndarray | tf.Tensor

_MAX_SEGMENT = 16  # pixels
_BITS = (9, 12, 12, 16)  # of the sums of 1, x, y and xy over 16 × 16 pixels, x and y below 16


def spatial_size(images: tf.Tensor) -> tuple[Side, Side]:
    """Height and width of `[B, H, W, ...]`, static where known."""
    dynamic = tf.shape(images)
    return tuple(images.shape[i] or dynamic[i] for i in (1, 2))


def pool_cells(votes: tf.Tensor, rows: Array, columns: Array) -> tf.Tensor:
    """Sums votes into cells: `[B, h, bins, w]` to `[B, grid rows, grid columns, bins]`.

    With the pixels of a row innermost, both directions are plain matrix products.

    Args:
      votes: the vote of each pixel for each bin.
      rows: `[grid rows, h]`, the `bilinear_weights` of the pixel rows.
      columns: `[grid columns, w]`, the `bilinear_weights` of the pixel columns.
    """
    bins = votes.shape[2]
    (grid_rows, height), (grid_columns, width) = (_shape(weights) for weights in (rows, columns))
    pooled = tf.matmul(tf.reshape(votes, (-1, width)), columns, transpose_b=True)
    pooled = tf.reshape(pooled, (-1, height, bins * grid_columns))
    pooled = tf.reshape(tf.matmul(rows, pooled), (-1, grid_rows, bins, grid_columns))
    return tf.transpose(pooled, (0, 1, 3, 2))


def bilinear_weights(pixels: Side, cells: Side, cell_size: int) -> Array:
    """Bilinear weights of the inner pixels of a line for each cell, float32 `[cells, pixels - 2]`.

    Each pixel divides its vote between the two nearest cell centres, by distance:

        cell centres        4           12          20
        weight of cell 1    0 ...  ___---^---___  ... 0

    Args:
      pixels: pixels in the line.
      cells: cells along the line.
      cell_size: pixels per cell side.

    Returns:
      An array if `pixels` is an integer, a tensor if it is a tensor.
    """
    if not tf.is_tensor(pixels):
        with tf.init_scope():  # eagerly, so that a graph gets a constant
            return bilinear_weights(tf.constant(pixels), tf.constant(cells), cell_size).numpy()
    pixel, cell = (tf.cast(tf.range(count), tf.float64) for count in (pixels, cells))
    position = (pixel + 0.5) / cell_size - 0.5
    distance = tf.abs(position - cell[:, tf.newaxis])
    return tf.cast(tf.nn.relu(1.0 - distance)[:, 1:-1], tf.float32)


def cell_histograms(labels: tf.Tensor, bins: int, cell_size: int) -> tf.Tensor:
    """Histogram of the labels in each cell, each pixel divided between the four nearest cells.

    A pixel's weight for a cell is linear in its position between two cell centres. The image is
    therefore split into segments at the cell centres, and four sums over the pixels of a segment
    with a given label suffice: those of 1, x, y and xy. They are small integers, so one integer
    packs all four and each pixel is counted once.

    Args:
      labels: int32 `[B, H - 2, W - 2]` in [0, bins), of the inner pixels of images `[H, W]`.
      bins: the number of labels.
      cell_size: pixels per cell side.

    Returns:
      float32 `[B, ⌊H/cell_size⌋, ⌊W/cell_size⌋, bins]`, the weighted counts.
    """
    height, width = spatial_size(labels)
    rows, columns = (_segment_line(side + 2, cell_size) for side in (height, width))
    segments = rows.segments, columns.segments
    slots = labels + bins * (rows.segment[:, np.newaxis] * segments[1] + columns.segment)
    weights = _pack(rows.offset[:, np.newaxis], columns.offset)
    counts = tf.raw_ops.DenseBincount(
        input=tf.reshape(slots, (-1, height * width)),
        size=bins * segments[0] * segments[1],
        weights=tf.broadcast_to(
            tf.reshape(weights, (1, -1)), (tf.shape(labels)[0], height * width)
        ),
        binary_output=False,
    )
    one, x, y, xy = (tf.reshape(s, (-1, segments[0], segments[1] * bins)) for s in _unpack(counts))
    one, x = (
        tf.matmul(rows.constant, sums) + tf.matmul(rows.slope, times_y)
        for sums, times_y in ((one, y), (x, xy))
    )
    one, x = (tf.reshape(sums, (-1, segments[1], bins)) for sums in (one, x))
    pooled = tf.matmul(columns.constant, one) + tf.matmul(columns.slope, x)
    return tf.reshape(pooled, (-1, rows.cells, columns.cells, bins))


class _Line(NamedTuple):
    """The inner pixels of a row or column, in segments on which all bilinear weights are linear.

    Attributes:
      cells: number of cells.
      segments: number of segments.
      segment: index of each pixel's segment, `[pixels]`.
      offset: position of each pixel within its segment, `[pixels]`.
      constant: weight for each cell at offset 0, `[cells, segments]`.
      slope: change of that weight per pixel, `[cells, segments]`.
    """

    cells: Side
    segments: Side
    segment: Array
    offset: Array
    constant: Array
    slope: Array


def _segment_line(pixels: Side, cell_size: int) -> _Line:
    if tf.is_tensor(pixels):
        return _Line(pixels // cell_size, *_segments(pixels, cell_size))
    with tf.init_scope():  # eagerly, so that a graph gets constants
        count, *values = (part.numpy() for part in _segments(tf.constant(pixels), cell_size))
    return _Line(pixels // cell_size, int(count), *values)


def _segments(pixels: tf.Tensor, cell_size: int) -> tuple[tf.Tensor, ...]:
    """Computes the fields of a `_Line` other than its cells."""
    weights = bilinear_weights(pixels, pixels // cell_size, cell_size)
    inner = tf.range(1, pixels - 1)
    # Pixels between the same two centres, counted from half a cell before the first centre.
    _, _, counts = tf.unique_with_counts((2 * inner + 1 + cell_size) // (2 * cell_size))
    within = tf.ragged.range(counts).flat_values
    offset = within % _MAX_SEGMENT
    segment = tf.cumsum(tf.cast(offset == 0, tf.int32)) - 1
    first = tf.where(offset == 0)[:, 0]
    last = tf.concat([first[1:], tf.shape(offset, tf.int64)], 0) - 1
    start, end = tf.gather(weights, first, axis=1), tf.gather(weights, last, axis=1)
    length = tf.cast(tf.maximum(last - first, 1), tf.float32)
    return tf.size(first), segment, offset, start, (end - start) / length


def _pack(y: Array, x: Array) -> tf.Tensor:
    y, x = tf.cast(y, tf.int64), tf.cast(x, tf.int64)
    one, of_x, of_y, of_xy = (1 << shift for shift in _bit_offsets())
    return one + of_x * x + of_y * y + of_xy * y * x


def _unpack(sums: tf.Tensor) -> list[tf.Tensor]:
    return [
        tf.cast(tf.bitwise.right_shift(sums, np.int64(shift)) & ((1 << bits) - 1), tf.float32)
        for shift, bits in zip(_bit_offsets(), _BITS, strict=True)
    ]


def _bit_offsets() -> list[int]:
    return [sum(_BITS[:i]) for i in range(len(_BITS))]


def _shape(weights: Array) -> tuple[Side, Side]:
    if tf.is_tensor(weights):
        return tuple(tf.unstack(tf.shape(weights), num=2))
    return weights.shape
