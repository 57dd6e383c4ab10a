"""Shuffling of the infinite image stream, and the random numbers of each position in it.

Both are pure functions of (seed, position), so that a run can resume anywhere and several workers
can share a run.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

BatchShard = tuple[int, int]  # (index, num_shards): one of the equal shards of every batch
WHOLE_BATCH: BatchShard = (0, 1)

_ORDER, _VIEW = 1, 2  # random streams, independent of each other


def stateless_uniform(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` independent numbers in [0, 1) for each position: float64 `[n, count]`."""
    return _to_uniform(_hash(_VIEW, seed, positions[:, np.newaxis], np.arange(count)))


def shuffled_indices(count: int, seed: int, positions: np.ndarray) -> np.ndarray:
    """Returns the indices in [0, count) at stream positions: int64 `[n]`.

    Positions count over all epochs. Every epoch contains each index once, in an order determined
    by (seed, epoch).
    """
    positions = np.asarray(positions, np.int64)
    epochs, offsets = np.divmod(positions, count)
    indices = np.empty_like(positions)
    for epoch in np.unique(epochs):
        mask = epochs == epoch
        indices[mask] = _permutation(count, seed, int(epoch))[offsets[mask]]
    return indices


def batch_positions(
    batch_size: int, start_step: int = 0, shard: BatchShard = WHOLE_BATCH
) -> tf.data.Dataset:
    """The stream positions of every batch, infinitely: int64 `[batch_size / num_shards]` per step.

    Args:
      batch_size: size of the whole batch, over all shards.
      start_step: batches to skip.
      shard: (index, num_shards): the shard of each batch to return.
    """
    import tensorflow as tf

    index, num_shards = shard
    begin, end = (i * batch_size // num_shards for i in (index, index + 1))
    rows = np.arange(begin, end)
    steps = tf.data.Dataset.counter(start=start_step)
    return steps.map(lambda step: step * batch_size + rows)


def batch_indices(
    count: int, seed: int, batch_size: int, start_step: int = 0, shard: BatchShard = WHOLE_BATCH
) -> tf.data.Dataset:
    """The `shuffled_indices` at `batch_positions`: int64 `[batch_size / num_shards]` per step."""
    import tensorflow as tf

    def look_up(positions: tf.Tensor) -> tf.Tensor:
        indices = tf.numpy_function(
            lambda array: shuffled_indices(count, seed, array), [positions], tf.int64
        )
        return tf.ensure_shape(indices, positions.shape)

    return batch_positions(batch_size, start_step, shard).map(look_up)


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.argsort(_hash(_ORDER, seed, epoch, np.arange(count)), kind="stable")


def _hash(*keys: int | np.ndarray) -> np.ndarray:
    """Hashes integers, broadcast against each other, to 64 bits with the mixing of SplitMix64."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def _to_uniform(bits: np.ndarray) -> np.ndarray:
    return (bits >> np.uint64(11)) * 2.0**-53
