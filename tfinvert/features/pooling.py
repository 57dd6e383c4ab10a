"""Bilinear pooling of per-pixel votes into square cells, as VLFeat's HOG and LBP do it."""

import numpy as np
import tensorflow as tf

Side = int | tf.Tensor  # of an image or a grid: a number where it is known, else a scalar int32
Weights = np.ndarray | tf.Tensor


def sides(images: tf.Tensor) -> tuple[Side, Side]:
    """Height and width of `[B, H, W, ...]`."""
    dynamic = tf.shape(images)
    return tuple(images.shape[i] or dynamic[i] for i in (1, 2))


def pool(votes: tf.Tensor, rows: Weights, columns: Weights) -> tf.Tensor:
    """Sums votes into cells: `[B, h, bins, w]` becomes `[B, cells down, cells across, bins]`.

    With the pixels of a row innermost, both directions are plain matrix products.

    Args:
      votes: of each pixel for each bin.
      rows: `[cells down, h]`, of `triangles`.
      columns: `[cells across, w]`, likewise.
    """
    bins = votes.shape[2]
    (down, height), (across, width) = (_shape(weights) for weights in (rows, columns))
    pooled = tf.matmul(tf.reshape(votes, (-1, width)), columns, transpose_b=True)
    pooled = tf.reshape(pooled, (-1, height, bins * across))
    pooled = tf.reshape(tf.matmul(rows, pooled), (-1, down, bins, across))
    return tf.transpose(pooled, (0, 1, 3, 2))


def triangles(pixels: Side, cells: Side, cell_size: int) -> Weights:
    """Bilinear weights of the inner pixels of a line for each cell, float32 `[cells, pixels - 2]`.

    A pixel shares its vote between the two nearest cell centres, by distance:

        cell centres        4           12          20
        weight of cell 1    0 ...  ___---^---___  ... 0

    Returns:
      An array for numbers, and a tensor for tensors.
    """
    if not tf.is_tensor(pixels):
        with tf.init_scope():  # eagerly: a constant
            return triangles(tf.constant(pixels), tf.constant(cells), cell_size).numpy()
    place, cell = (tf.cast(tf.range(count), tf.float64) for count in (pixels, cells))
    centres = (place + 0.5) / cell_size - 0.5
    distance = tf.abs(centres - cell[:, tf.newaxis])
    return tf.cast(tf.nn.relu(1.0 - distance)[:, 1:-1], tf.float32)


def _shape(weights: Weights) -> tuple[Side, Side]:
    if tf.is_tensor(weights):
        return tuple(tf.unstack(tf.shape(weights), num=2))
    return weights.shape
