"""Bilinear pooling of per-pixel votes into square cells, as VLFeat's HOG and LBP do it."""

import numpy as np
import tensorflow as tf


def pool(votes: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    """Sums votes into cells: `[B, h, bins, w]` becomes `[B, cells down, cells across, bins]`.

    With the pixels of a row innermost, both directions are plain matrix products.

    Args:
      votes: of each pixel for each bin.
      rows: `[cells down, h]`, of `triangles`.
      columns: `[cells across, w]`, likewise.
    """
    height, bins, width = votes.shape[1:]
    pooled = tf.matmul(tf.reshape(votes, (-1, width)), columns, transpose_b=True)
    pooled = tf.reshape(pooled, (-1, height, bins * len(columns)))
    pooled = tf.reshape(tf.matmul(rows, pooled), (-1, len(rows), bins, len(columns)))
    return tf.transpose(pooled, (0, 1, 3, 2))


def triangles(pixels: int, cells: int, cell_size: int) -> np.ndarray:
    """Bilinear weights of the inner pixels of a line for each cell, `[cells, pixels - 2]`.

    A pixel shares its vote between the two nearest cell centres, by distance:

        cell centres        4           12          20
        weight of cell 1    0 ...  ___---^---___  ... 0
    """
    centres = (np.arange(pixels) + 0.5) / cell_size - 0.5
    distance = np.abs(centres - np.arange(cells)[:, np.newaxis])
    return np.maximum(0.0, 1.0 - distance)[:, 1:-1].astype(np.float32)
