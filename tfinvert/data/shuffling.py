"""Which image stands at which position of an endless stream, and what is drawn for a position.

Both are pure functions of (seed, position), so that a run can go on anywhere, and several machines
can share it.
"""

import functools

import numpy as np
import tensorflow as tf

BatchShard = tuple[int, int]  # (index, of): which of so many equal parts of every batch
WHOLE_BATCH: BatchShard = (0, 1)

_ORDER, _VIEW = 1, 2  # kinds of draws, so that one tells nothing of another


def stateless_uniform(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
    """So many independent numbers in [0, 1) for each position: float64 `[n, count]`."""
    return _uniform(_hash(_VIEW, seed, positions[:, np.newaxis], np.arange(count)))


def shuffled_indices(count: int, seed: int, positions: np.ndarray) -> np.ndarray:
    """The indices in [0, count) of the things at some positions: int64 `[n]`.

    Positions count over all epochs; every epoch has each index once, in an order of its own that is
    fixed by (seed, epoch).
    """
    positions = np.asarray(positions, np.int64)
    epochs, places = np.divmod(positions, count)
    indices = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _permutation(count, seed, int(epoch))[places[here]]
    return indices


def batch_positions(
    batch_size: int, start_step: int = 0, part: BatchShard = WHOLE_BATCH
) -> tf.data.Dataset:
    """The positions of every batch of an endless stream: int64 `[batch_size / of]`, step by step.

    Args:
      batch_size: of the whole batch.
      start_step: batches to leave out.
      part: (index, of): which of so many equal parts of every batch.
    """
    index, of = part
    rows = np.arange(batch_size)[index * batch_size // of : (index + 1) * batch_size // of]
    steps = tf.data.Dataset.counter(start=start_step)
    return steps.map(lambda step: step * batch_size + rows)


def batch_indices(
    count: int, seed: int, batch_size: int, start_step: int = 0, part: BatchShard = WHOLE_BATCH
) -> tf.data.Dataset:
    """As `batch_positions`, of the indices of `shuffled_indices`."""

    def look_up(at: tf.Tensor) -> tf.Tensor:
        indices = tf.numpy_function(lambda at: shuffled_indices(count, seed, at), [at], tf.int64)
        return tf.ensure_shape(indices, at.shape)

    return batch_positions(batch_size, start_step, part).map(look_up)


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.argsort(_hash(_ORDER, seed, epoch, np.arange(count)), kind="stable")


def _hash(*keys: int | np.ndarray) -> np.ndarray:
    """64 bits from whole numbers, broadcast against each other (the mixing of SplitMix64)."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def _uniform(bits: np.ndarray) -> np.ndarray:
    return (bits >> np.uint64(11)) * 2.0**-53
