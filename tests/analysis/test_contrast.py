"""Scaled contrast, and reconstructions by the shipped HOG inverter."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.experiments.contrast import EXPERIMENT
from tfinvert.analysis.scores import scale_contrast


def test_scaling_keeps_the_mean_and_scales_the_deviation(photos):
    halved = scale_contrast(photos, 0.5)
    np.testing.assert_allclose(halved.mean((1, 2)), photos.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(halved.std((1, 2)), 0.5 * photos.std((1, 2)), atol=1e-5)
    np.testing.assert_allclose(scale_contrast(photos, 1.0), photos, atol=1e-6)
    assert scale_contrast(photos, 9.0).max() <= 1.0


def test_hog_reconstructions_change_little_at_half_the_contrast(photos, load_shipped):
    hog = {"hog-64": load_shipped("hog-64")}
    result = EXPERIMENT.run(hog, photos[::3], {"factors": (1.0, 0.5)})
    original, halved = result.rows
    assert max(original["photograph_change"], original["reconstruction_change"]) < 1e-6
    assert halved["photograph_change"] > 0.2
    assert halved["reconstruction_change"] < 0.3 * halved["photograph_change"]
    assert 0.9 < halved["reconstruction_contrast"] < 1.1
    assert f"{halved['reconstruction_change']:.4f} N" in result.findings[0]
    assert result.figures[0].image.ndim == 3


def test_equal_images_and_a_single_factor_are_refused(photos, inverter):
    hog = {"hog-64": inverter}
    with pytest.raises(
        tfinvert.InputError, match="different images. Received: 3 images that are all e"
    ):
        EXPERIMENT.run(hog, photos[[0, 0, 0]])
    with pytest.raises(tfinvert.InputError, match="at least 2 factors"):
        EXPERIMENT.run(hog, photos, {"factors": (1.0,)})


@pytest.mark.parametrize("factor", [0.5, 0.25])
def test_lbp_is_invariant_to_contrast(photos, factor):
    # Multiples of a power of two, so that no comparison depends on rounding.
    feature = tfinvert.features.get("lbp:cell_size=8")
    images = np.round(photos * 255) / np.float32(256)
    np.testing.assert_allclose(feature(images * np.float32(factor)), feature(images), atol=1e-6)
