"""Comparisons of images and reconstructions, and summaries of inverters, for notebooks."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.untrained import build_tiny_inverter
from tfinvert.reporting.comparison import normalized_error


@pytest.fixture(scope="module")
def inverter(photos):
    inverter = build_tiny_inverter(photos)
    inverter.card["metrics"] = {"mean_pairwise_distance": 50.0, "normalized_error": 0.4321}
    return inverter


def pictures(html):
    """The PNG files in a page, decoded."""
    files = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) for file in files]


def test_one_image(inverter, photos):
    shown = inverter.show(photos[0])
    np.testing.assert_array_equal(shown.image, photos[0])
    np.testing.assert_allclose(shown.reconstruction, inverter.reconstruct(photos[0]), atol=1e-6)
    difference = np.abs(shown.reconstruction - photos[0])
    assert shown.error == pytest.approx(difference.mean(), rel=1e-5)
    assert shown.normalized_error == pytest.approx(np.linalg.norm(difference) / 50, rel=1e-4)
    assert re.fullmatch(
        r"Comparison\(64×64 pixels, error=0\.\d{3}, normalized_error=0\.\d{3}\)", repr(shown)
    )
    photo, reconstruction, error_map = pictures(shown._repr_html_())
    np.testing.assert_array_equal(photo, np.round(photos[0] * 255))
    np.testing.assert_allclose(reconstruction / 255, shown.reconstruction, atol=0.01)
    brightness = np.corrcoef(error_map.sum(-1).ravel(), difference.mean(-1).ravel())[0, 1]
    assert brightness > 0.9
    assert f"mean absolute error {shown.error:.3f}" in shown._repr_html_()


def test_several_images(inverter, photos):
    shown = inverter.show(photos[:14])
    assert shown.image.shape == shown.reconstruction.shape == (14, 64, 64, 3)
    assert shown.error.shape == shown.normalized_error.shape == (14,)
    assert repr(shown).startswith("Comparison(14 images, mean error=0.")
    assert len(pictures(shown._repr_html_())) == 3 * 12
    assert "2 more images are not shown" in shown._repr_html_()
    mixed = inverter.show([photos[0], photos[1, :40]])
    assert [image.shape for image in mixed.image] == [(64, 64, 3), (40, 64, 3)]
    assert [image.shape for image in mixed.reconstruction] == [(64, 64, 3), (40, 64, 3)]
    assert len(pictures(mixed._repr_html_())) == 6


def test_large_pictures_are_reduced(inverter):
    shown = inverter.show(np.random.default_rng(0).random((300, 600, 3), np.float32))
    assert shown.image.shape == (300, 600, 3)
    assert {picture.shape for picture in pictures(shown._repr_html_())} == {(128, 256, 3)}


def test_an_inverter_shows_itself(inverter):
    html = inverter._repr_html_()
    for text in ("hog", "64×64 pixels", "0.4321", f"{inverter.network.count_params():,}"):
        assert text in html
    assert len(pictures(html)) == 3
    parameters = f"{inverter.network.count_params():,} parameters"
    assert repr(inverter) == f"<Inverter of hog, any size, {parameters}>"


def test_normalized_error_uses_the_scale_of_the_card(inverter, photos):
    images = inverter.reconstruct(photos[:5])
    errors = [normalized_error(inverter, *pair) for pair in zip(photos[:5], images, strict=True)]
    expected = np.linalg.norm((photos[:5] - images).reshape(5, -1), axis=1) / 50
    np.testing.assert_allclose(errors, expected, rtol=1e-4)
    without_card = tfinvert.Inverter(inverter.feature, inverter.standardization, inverter.network)
    assert normalized_error(without_card, photos[0], images[0]) is None
    assert without_card.show(photos[0]).normalized_error is None
