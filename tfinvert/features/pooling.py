"""Bilinear pooling of per-pixel votes and labels into square cells, as in VLFeat's HOG and LBP."""

import types
from typing import NamedTuple

import numpy as np
from keras import ops

from tfinvert.common.backend import INTEGER, Tensor, full_precision, sum_by_label

Side = int | Tensor  # of an image or a grid: an integer if static, else a scalar int32 tensor
Array = np.ndarray | Tensor

_MAX_SEGMENT = 16  # pixels
_BITS = (9, 11, 11, 14)  # of the sums of 1, x, y and xy over 16 × 16 pixels, x and y below 16
_PACKED = ((0, 1, 2), (3,)) if INTEGER == "int32" else ((0, 1, 2, 3),)  # those in one integer


def pool_cells(votes: Tensor, rows: Array, columns: Array) -> Tensor:
    """Sums votes into cells: `[B, h, bins, w]` to `[B, grid rows, grid columns, bins]`.

    With the pixels of a row innermost, both directions are plain matrix products.

    Args:
      votes: the vote of each pixel for each bin.
      rows: `[grid rows, h]`, the `bilinear_weights` of the pixel rows.
      columns: `[grid columns, w]`, the `bilinear_weights` of the pixel columns.
    """
    bins = votes.shape[2]
    (grid_rows, height), (grid_columns, width) = (_xp(x).shape(x) for x in (rows, columns))
    with full_precision():
        pooled = ops.matmul(ops.reshape(votes, (-1, width)), _xp(columns).transpose(columns))
        pooled = ops.reshape(pooled, (-1, height, bins * grid_columns))
        pooled = ops.matmul(rows, pooled)
    pooled = ops.reshape(pooled, (-1, grid_rows, bins, grid_columns))
    return ops.transpose(pooled, (0, 1, 3, 2))


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
      An array if `pixels` is an integer, so that a graph gets a constant; a tensor if it is one.
    """
    xp = _xp(pixels)
    pixel, cell = (xp.arange(count, dtype="float64") for count in (pixels, cells))
    distance = xp.abs((pixel + 0.5) / cell_size - 0.5 - cell[:, None])
    return _cast(xp.maximum(1.0 - distance, 0.0)[:, 1:-1], "float32")


def cell_histograms(labels: Tensor, bins: int, cell_size: int) -> Tensor:
    """Histogram of the labels in each cell, each pixel divided between the four nearest cells.

    A pixel's weight for a cell is linear in its position between two cell centres. The image is
    therefore split into segments at the cell centres, and four sums over the pixels of a segment
    with a given label suffice: those of 1, x, y and xy. They are small integers, so one 64-bit
    integer packs all four and each pixel is counted once; of 32 bits, two are needed.

    Args:
      labels: int32 `[B, H - 2, W - 2]` in [0, bins), of the inner pixels of images `[H, W]`.
      bins: the number of labels.
      cell_size: pixels per cell side.

    Returns:
      float32 `[B, ⌊H/cell_size⌋, ⌊W/cell_size⌋, bins]`, the weighted counts.
    """
    height, width = ops.shape(labels)[1:3]
    rows, columns = (_segment_line(side + 2, cell_size) for side in (height, width))
    segments = rows.segments, columns.segments
    slots = labels + bins * (rows.segment[:, None] * segments[1] + columns.segment)
    slots = ops.reshape(slots, (-1, height * width))
    sums = []
    for terms in _PACKED:
        weights = _pack(rows.offset[:, None], columns.offset, terms)
        counts = sum_by_label(slots, weights, bins * segments[0] * segments[1])
        sums += _unpack(counts, terms)
    one, x, y, xy = (ops.reshape(s, (-1, segments[0], segments[1] * bins)) for s in sums)
    with full_precision():
        one, x = (
            ops.matmul(rows.constant, sums) + ops.matmul(rows.slope, times_y)
            for sums, times_y in ((one, y), (x, xy))
        )
        one, x = (ops.reshape(sums, (-1, segments[1], bins)) for sums in (one, x))
        pooled = ops.matmul(columns.constant, one) + ops.matmul(columns.slope, x)
    return ops.reshape(pooled, (-1, rows.cells, columns.cells, bins))


class _Line(NamedTuple):
    """The inner pixels of a row or column, in segments on which all bilinear weights are linear.

    Attributes:
      cells: number of cells.
      segments: number of segments.
      segment: index of each pixel's segment, int32 `[pixels]`.
      offset: position of each pixel within its segment, int32 `[pixels]`.
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
    xp, cells = _xp(pixels), pixels // cell_size
    weights = bilinear_weights(pixels, cells, cell_size)
    inner = xp.arange(1, pixels - 1, dtype="int32")
    # Pixels between two centres, counted from half a cell before the first centre.
    interval = (2 * inner + 1 + cell_size) // (2 * cell_size)
    begin = xp.maximum((2 * interval - 1) * cell_size // 2, 1)
    offset = (inner - begin) % _MAX_SEGMENT
    begins = _cast(offset == 0, "int32")
    (first,) = xp.nonzero(begins)
    last = xp.append(first[1:], pixels - 2) - 1
    start, end = xp.take(weights, first, axis=1), xp.take(weights, last, axis=1)
    length = _cast(xp.maximum(last - first, 1), "float32")
    segment = _cast(xp.cumsum(begins) - 1, "int32")
    return _Line(cells, xp.shape(first)[0], segment, offset, start, (end - start) / length)


def _pack(y: Array, x: Array, terms: tuple[int, ...]) -> Array:
    """Packs some of 1, x, y and xy into one integer for each pixel, `[pixels]`."""
    y, x = _cast(y, INTEGER), _cast(x, INTEGER)
    values = x * 0 + y * 0 + 1, x + y * 0, y + x * 0, x * y
    packed = sum(values[term] * (1 << shift) for term, shift in _shifts(terms))
    return _xp(packed).reshape(packed, (-1,))


def _unpack(sums: Tensor, terms: tuple[int, ...]) -> list[Tensor]:
    return [
        ops.cast(ops.bitwise_and(ops.right_shift(sums, shift), (1 << _BITS[term]) - 1), "float32")
        for term, shift in _shifts(terms)
    ]


def _shifts(terms: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of a term and its position in the integer, in bits."""
    return [(term, sum(_BITS[other] for other in terms[:i])) for i, term in enumerate(terms)]


def _xp(x: Side | Array) -> types.ModuleType:
    """The module that computes with x: NumPy, or `keras.ops` for a tensor."""
    return np if isinstance(x, int | np.ndarray) else ops


def _cast(x: Array, dtype: str) -> Array:
    return x.astype(dtype) if isinstance(x, np.ndarray) else ops.cast(x, dtype)
