"""Scores of reconstructions."""

import numpy as np
import pytest

from tfinvert.analysis.scores import brightness_error, color_error, standard_error


def test_brightness_and_color_errors_are_separate(photos):
    darker = photos * 0.5
    assert brightness_error(photos, photos) == color_error(photos, photos) == 0
    assert brightness_error(photos, darker) > 2 * color_error(photos, darker)
    swapped = photos[..., ::-1]  # luma changes only by the difference of the weights
    assert color_error(photos, swapped) > brightness_error(photos, swapped)


def test_the_standard_error_is_that_of_a_mean():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert standard_error(np.array([5.0])) == 0
