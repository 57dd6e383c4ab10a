"""Order and draws: pure functions of seed and position."""

import numpy as np
import pytest

from tfinvert.data.order import batches_of_indices, order, positions, uniforms


def test_every_epoch_has_each_index_once_in_an_order_of_its_own():
    drawn = order(50, 3, np.arange(200)).reshape(4, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in drawn)
    assert len({epoch.tobytes() for epoch in drawn}) == 4
    assert not np.array_equal(drawn[0], order(50, 4, np.arange(50)))


def test_a_position_has_its_index_whatever_it_is_asked_with():
    whole = order(7, 0, np.arange(40))
    for at in (np.array([39, 3, 14]), np.array([6, 7]), np.arange(30, 40)):
        np.testing.assert_array_equal(order(7, 0, at), whole[at])


def test_orders_are_even():
    """Over many seeds each index stands in each place equally often (chi-squared, 25 cells)."""
    counts = np.zeros((5, 5))
    for seed in range(2000):
        counts[np.arange(5), order(5, seed, np.arange(5))] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 45  # 16 degrees of freedom: p below 0.0002


def test_draws_are_uniform_and_unrelated():
    drawn = uniforms(5, np.arange(20000), 4)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        histogram = np.histogram(column, 20, (0, 1))[0]
        assert ((histogram - 1000) ** 2 / 1000).sum() < 52  # 19 degrees of freedom
    related = np.corrcoef([*drawn.T, *uniforms(6, np.arange(20000), 4).T])
    assert np.abs(related - np.eye(8)).max() < 0.03
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.03


def test_draws_are_those_of_their_position():
    np.testing.assert_array_equal(
        uniforms(1, np.array([9, 4]), 3)[1], uniforms(1, np.array([4]), 3)[0]
    )


@pytest.mark.parametrize("part", [(0, 1), (1, 2), (2, 3)])
def test_batches_of_indices_are_the_order_of_their_positions(part):
    at = [*positions(6, 4, part).take(3).as_numpy_iterator()]
    index, of = part
    assert at[0].tolist() == list(range(24 + 6 // of * index, 24 + 6 // of * (index + 1)))
    indices = [*batches_of_indices(5, 8, 6, 4, part).take(3).as_numpy_iterator()]
    np.testing.assert_array_equal(indices, [order(5, 8, a) for a in at])
