"""The soft disc against its distances from the middle."""

import math

import numpy as np
import pytest

from tfinvert.analysis.compositing import soft_disc


def test_the_disc_falls_linearly_from_inside_to_its_rim():
    disc = soft_disc(11, 21, diameter=10, edge=2)
    assert disc.shape == (11, 21) and disc.dtype == np.float32
    for row in range(11):
        for column in range(21):
            distance = math.hypot(row - 5, column - 10)
            assert disc[row, column] == pytest.approx(min(max((5 - distance) / 2, 0), 1), abs=1e-6)


@pytest.mark.parametrize("side", [19, 20])
def test_a_disc_in_its_square_is_the_same_from_all_sides(side):
    disc = soft_disc(side, side, side, 0.2 * side)
    np.testing.assert_allclose(disc, disc[::-1], atol=1e-6)
    np.testing.assert_allclose(disc, disc.T, atol=1e-6)
    assert disc.max() == 1 and disc[0, 0] == 0
    # A cone without its tip: the volume of the whole one, less that above 1.
    cone = math.pi / 3 * (side / 2) ** 2 / 0.4
    assert disc.sum() == pytest.approx(cone * (1 - 0.6**3), rel=0.02)
