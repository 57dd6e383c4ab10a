"""Keypoints taken away, and the curve of the shipped SIFT inverter."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.keypoints import keep_keypoint_fraction, keypoints
from tfinvert.features.sift import occupied_cells


@pytest.fixture(scope="module")
def grids(photos):
    return tfinvert.features.get("sift")(photos).numpy()


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.1, 0.0])
def test_exactly_that_part_stays_and_the_rest_is_as_it_was(grids, fraction):
    kept = keep_keypoint_fraction(grids, fraction, np.random.default_rng(0))
    before, after = occupied_cells(grids), occupied_cells(kept)
    assert not (after & ~before).any()
    np.testing.assert_array_equal(after.sum((1, 2)), np.round(fraction * before.sum((1, 2))))
    np.testing.assert_array_equal(kept[after], grids[after])
    np.testing.assert_array_equal(kept[~after], 0.0)


def test_which_ones_stay_is_drawn_evenly_and_from_the_seed(grids):
    rng = np.random.default_rng(0)
    many = np.mean(
        [occupied_cells(keep_keypoint_fraction(grids[:1], 0.5, rng)) for _ in range(400)], 0
    )
    assert np.abs(many[occupied_cells(grids[:1])] - 0.5).max() < 0.13  # five standard deviations
    first, again, other = (
        keep_keypoint_fraction(grids, 0.5, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_error_rises_as_keypoints_go(photos):
    result = keypoints({"sift-64": tfinvert.load("sift-64")}, photos)
    errors = [row["normalised error"] for row in result.rows]
    assert errors == sorted(errors)
    assert errors[-1] > 1.1 * errors[0]
    counts = [row["keypoints an image"] for row in result.rows]
    assert counts[0] > counts[1] > counts[2] > counts[3] > counts[4] == 0
    assert result.figures[0].svg.startswith("<svg")


def test_inverters_of_another_feature_are_refused(photos):
    with pytest.raises(tfinvert.InputError, match="takes inverters of sift. Received: hog-64"):
        keypoints({"hog-64": tfinvert.load("hog-64")}, photos)
