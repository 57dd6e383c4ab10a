"""Shuffling and random numbers: pure functions of seed and position."""

import numpy as np
import pytest

from tfinvert.data.shuffling import (
    batch_indices,
    batch_positions,
    shuffled_indices,
    stateless_uniform,
)


def test_every_epoch_is_a_different_permutation():
    drawn = shuffled_indices(50, 3, np.arange(200)).reshape(4, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in drawn)
    assert len({epoch.tobytes() for epoch in drawn}) == 4
    assert not np.array_equal(drawn[0], shuffled_indices(50, 4, np.arange(50)))


def test_index_depends_on_its_position_only():
    whole = shuffled_indices(7, 0, np.arange(40))
    for at in (np.array([39, 3, 14]), np.array([6, 7]), np.arange(30, 40)):
        np.testing.assert_array_equal(shuffled_indices(7, 0, at), whole[at])


def test_permutations_are_uniform():
    """Over many seeds each index occurs in each position equally often (chi-squared, 25 cells)."""
    counts = np.zeros((5, 5))
    for seed in range(2000):
        counts[np.arange(5), shuffled_indices(5, seed, np.arange(5))] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 45  # 16 degrees of freedom: p below 0.0002


def test_random_numbers_are_uniform_and_independent():
    drawn = stateless_uniform(5, np.arange(20000), 4)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        histogram = np.histogram(column, 20, (0, 1))[0]
        assert ((histogram - 1000) ** 2 / 1000).sum() < 52  # 19 degrees of freedom
    related = np.corrcoef([*drawn.T, *stateless_uniform(6, np.arange(20000), 4).T])
    assert np.abs(related - np.eye(8)).max() < 0.03
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.03


def test_random_numbers_depend_on_their_position_only():
    np.testing.assert_array_equal(
        stateless_uniform(1, np.array([9, 4]), 3)[1], stateless_uniform(1, np.array([4]), 3)[0]
    )


@pytest.mark.parametrize("shard", [(0, 1), (1, 2), (2, 3)])
def test_batch_indices_are_the_shuffled_indices_of_their_positions(shard):
    at = [*batch_positions(6, 4, shard).take(3).as_numpy_iterator()]
    index, num_shards = shard
    size = 6 // num_shards
    assert at[0].tolist() == list(range(24 + size * index, 24 + size * (index + 1)))
    indices = [*batch_indices(5, 8, 6, 4, shard).take(3).as_numpy_iterator()]
    np.testing.assert_array_equal(indices, [shuffled_indices(5, 8, a) for a in at])
