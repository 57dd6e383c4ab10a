"""Contrast scaled, and what the shipped HOG inverter makes of it."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.contrast import contrast, scale_contrast


def test_scaling_keeps_the_mean_and_scales_the_deviation(photos):
    halved = scale_contrast(photos, 0.5)
    np.testing.assert_allclose(halved.mean((1, 2)), photos.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(halved.std((1, 2)), 0.5 * photos.std((1, 2)), atol=1e-5)
    np.testing.assert_allclose(scale_contrast(photos, 1.0), photos, atol=1e-6)
    assert scale_contrast(photos, 9.0).max() <= 1.0


def test_hog_reconstructions_change_little_at_half_the_contrast(photos):
    result = contrast({"hog-64": tfinvert.load("hog-64")}, photos, (1.0, 0.5))
    whole, halved = result.rows
    assert max(whole["change of the photographs"], whole["change of the reconstructions"]) < 1e-6
    assert halved["change of the photographs"] > 0.2
    assert halved["change of the reconstructions"] < 0.3 * halved["change of the photographs"]
    assert 0.9 < halved["contrast of the reconstructions"] < 1.1
    assert f"{halved['change of the reconstructions']:.4f} N" in result.findings[0]
    assert result.figures[0].image.ndim == 3


def test_images_that_are_all_the_same_and_one_factor_are_refused(photos):
    hog = {"hog-64": tfinvert.load("hog-64")}
    with pytest.raises(tfinvert.InputError, match="the 3 images are all the same"):
        contrast(hog, photos[[0, 0, 0]])
    with pytest.raises(tfinvert.InputError, match="at least 2 factors"):
        contrast(hog, photos, (1.0,))


@pytest.mark.parametrize("factor", [0.5, 0.25])
def test_lbp_itself_does_not_change_at_all(photos, factor):
    # In steps of 1/255 times a power of two, so that no comparison is decided by rounding.
    feature = tfinvert.features.get("lbp:cell_size=8")
    images = np.round(photos * 255) / np.float32(256)
    np.testing.assert_allclose(feature(images * np.float32(factor)), feature(images), atol=1e-6)
