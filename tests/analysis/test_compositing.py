"""Masks, pasted objects, and centroids of change."""

import math

import numpy as np
import pytest

from tfinvert.analysis.compositing import (
    center_crop,
    change_centroid,
    choose_objects,
    paste,
    position_correlation,
    soft_disc,
)


def test_the_disc_falls_linearly_to_its_rim():
    disc = soft_disc(11, 21, diameter=10, edge=2)
    assert disc.shape == (11, 21) and disc.dtype == np.float32
    for row in range(11):
        for column in range(21):
            distance = math.hypot(row - 5, column - 10)
            assert disc[row, column] == pytest.approx(min(max((5 - distance) / 2, 0), 1), abs=1e-6)


@pytest.mark.parametrize("side", [19, 20])
def test_a_disc_is_symmetric(side):
    disc = soft_disc(side, side, side, 0.2 * side)
    np.testing.assert_allclose(disc, disc[::-1], atol=1e-6)
    np.testing.assert_allclose(disc, disc.T, atol=1e-6)
    assert disc.max() == 1 and disc[0, 0] == 0
    # A truncated cone: the volume of the whole cone, less that above 1.
    cone = math.pi / 3 * (side / 2) ** 2 / 0.4
    assert disc.sum() == pytest.approx(cone * (1 - 0.6**3), rel=0.02)


def test_center_crop():
    images = np.arange(2 * 6 * 8 * 3).reshape(2, 6, 8, 3)
    np.testing.assert_array_equal(center_crop(images, 4), images[:, 1:5, 2:6])


def test_pasting_mixes_by_the_mask_and_leaves_the_background_alone():
    rng = np.random.default_rng(0)
    backgrounds, objects = rng.random((2, 5, 6, 3)), rng.random((2, 2, 2, 3))
    before, mask = backgrounds.copy(), np.array([[1.0, 0.25], [0.0, 1.0]])
    copies = paste(backgrounds, objects, mask, 3, 1)
    np.testing.assert_array_equal(backgrounds, before)
    np.testing.assert_allclose(copies[:, 3, 1], objects[:, 0, 0])
    np.testing.assert_allclose(
        copies[:, 3, 2], 0.25 * objects[:, 0, 1] + 0.75 * backgrounds[:, 3, 2]
    )
    np.testing.assert_allclose(copies[:, 4, 1], backgrounds[:, 4, 1])
    copies[:, 3:5, 1:3] = backgrounds[:, 3:5, 1:3]
    np.testing.assert_array_equal(copies, backgrounds)


def test_objects_come_from_other_photographs_and_are_unlike_the_background():
    rng = np.random.default_rng(0)
    colors, own = rng.random((50, 3)), np.arange(0, 50, 2)
    chosen = choose_objects(colors, colors[own], own, np.random.default_rng(1))
    np.testing.assert_array_equal(
        chosen, choose_objects(colors, colors[own], own, np.random.default_rng(1))
    )
    assert (chosen != own).all()
    assert len(set(chosen.tolist())) > 1
    usual = np.linalg.norm(colors[:, np.newaxis] - colors, axis=-1).mean()
    assert np.linalg.norm(colors[chosen] - colors[own], axis=1).mean() > 1.4 * usual
    two = choose_objects(colors[:2], colors[:2], np.arange(2), rng)
    np.testing.assert_array_equal(two, [1, 0])


def test_the_change_centroid_is_that_of_a_spot_on_an_even_ground():
    changes = np.full((3, 20, 40), 0.7, np.float32)
    changes[0, 4:8, 30:36] += 2.0
    changes[1, 0, 0] += 1.0
    changes[2] = 0.0
    found = change_centroid(changes)
    np.testing.assert_allclose(found[0], [(33 - 20) / 40, (6 - 10) / 40], atol=1e-6)
    np.testing.assert_allclose(found[1], [-19.5 / 40, -9.5 / 40], atol=1e-6)
    np.testing.assert_array_equal(found[2], 0)


def test_the_correlation_and_its_error_are_pearsons_and_the_jackknifes():
    rng = np.random.default_rng(3)
    places = rng.random((4, 2)) - 0.5
    measured = places[:, np.newaxis] + rng.normal(0, 0.3, (4, 6, 2))

    def pearson(kept):
        true = np.repeat(places[:, np.newaxis], len(kept), 1)
        return np.corrcoef(true.ravel(), measured[:, kept].ravel())[0, 1]

    without = [pearson([i for i in range(6) if i != left]) for left in range(6)]
    error = np.sqrt(5 / 6 * sum((value - np.mean(without)) ** 2 for value in without))
    value, found = position_correlation(places, measured)
    assert value == pytest.approx(pearson(list(range(6))))
    assert found == pytest.approx(error)
    assert position_correlation(places, np.zeros((4, 6, 2))) == (0.0, 0.0)
    same = np.repeat(places[:, np.newaxis], 6, 1)
    assert position_correlation(places, -2 * same) == pytest.approx((-1.0, 0.0), abs=1e-6)
