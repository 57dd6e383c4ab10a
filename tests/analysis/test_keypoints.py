"""The error of the shipped SIFT inverter with fewer keypoints."""

import pytest

import tfinvert
from tfinvert.analysis.experiments.keypoints import EXPERIMENT


def test_the_error_rises_with_fewer_keypoints(photos, load_shipped):
    result = EXPERIMENT.run({"sift-64": load_shipped("sift-64")}, photos[::3])
    errors = [row["normalized_error"] for row in result.rows]
    assert errors == sorted(errors)
    assert errors[-1] > 1.1 * errors[0]
    counts = [row["keypoints_per_image"] for row in result.rows]
    assert counts[0] > counts[1] > counts[2] > counts[3] > counts[4] == 0
    assert result.figures[0].svg.startswith("<svg")


def test_inverters_of_another_feature_are_refused(photos, inverter):
    with pytest.raises(tfinvert.InputError, match="takes inverters of sift. Received: hog-64"):
        EXPERIMENT.run({"hog-64": inverter}, photos)
