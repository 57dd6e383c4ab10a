"""Rotation of hues, measured on colours with known hues and on shipped inverters."""

import colorsys
import dataclasses

import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.compositing import soft_disc
from tfinvert.analysis.experiments.color import EXPERIMENT
from tfinvert.analysis.hue import chroma, chroma_product, hue_error, rotate_hue
from tfinvert.errors import InputError

ROTATIONS = np.arange(12) * 30.0


@pytest.mark.parametrize("degrees", [0.0, 50.0, 330.0, 360.0])
def test_rotation_changes_the_hue_of_hsv_alone(degrees):
    colors = np.random.default_rng(0).random((3, 4, 3)).astype(np.float32)
    rotated = rotate_hue(colors, degrees)
    assert rotated.dtype == np.float32
    for before, after in zip(colors.reshape(-1, 3), rotated.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
        np.testing.assert_allclose(after, expected, atol=2e-6)


def test_the_angle_of_chroma_is_the_hue():
    red, green, blue = chroma(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose([red, green, blue], np.exp(2j * np.pi / 3 * np.arange(3)), atol=1e-6)
    np.testing.assert_allclose(chroma(np.full((1, 3), 0.3, np.float32)), 0, atol=1e-6)
    colors = np.random.default_rng(1).random((500, 3))
    hues = [360 * colorsys.rgb_to_hsv(*each)[0] for each in colors.tolist()]
    off = (np.degrees(np.angle(chroma(colors))) - hues + 180) % 360 - 180
    assert 1.0 < np.abs(off).max() < 1.13


def test_the_chroma_product_is_a_weighted_sum_over_each_image():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 3, 4, 5)) + 1j * rng.random((2, 3, 4, 5))
    mask = rng.random((4, 5)).astype(np.float32)
    expected = [
        sum(mask[y, x] * np.conj(a[i, y, x]) * b[i, y, x] for y in range(4) for x in range(5))
        for i in range(3)
    ]
    np.testing.assert_allclose(chroma_product(a, b, mask), expected, rtol=1e-6)


def test_hue_errors_are_the_short_way_round_and_chance_without_a_hue():
    follows = 3 * np.exp(1j * np.radians(ROTATIONS + 10))
    stays = np.full(12, 0.2 + 0j)
    products = np.stack([follows, stays, np.zeros(12)], 1)
    errors = hue_error(products, ROTATIONS)
    np.testing.assert_allclose(errors[:, 0], 10, atol=1e-9)
    np.testing.assert_allclose(errors[:, 1], np.minimum(ROTATIONS, 360 - ROTATIONS), atol=1e-9)
    np.testing.assert_allclose(errors.mean(0), [10, 90, 90], atol=1e-9)


def test_a_perfect_reconstruction_follows_in_full(photos):
    measurement = EXPERIMENT.measure({"echo": stub_inverter(echo)}, photos[:16], angles=6)
    (row,) = measurement.rows
    assert row["hue_error"] < 1.13
    assert row["chroma"] == pytest.approx(1, abs=0.05)
    assert row["rotating_chroma"] == pytest.approx(1, abs=0.05)
    assert row["constant_chroma"] == pytest.approx(0, abs=0.05)
    assert EXPERIMENT.judge(measurement)[0].holds


def test_a_constant_hue_stays(photos):
    red = np.broadcast_to(np.float32([0.8, 0.2, 0.2]), photos.shape)
    inverters = {
        "red": stub_inverter(lambda images: red[: len(images)]),
        "echo": stub_inverter(echo, "fc7"),
    }
    result = EXPERIMENT.run(inverters, photos[:16], {"angles": 4})
    assert result.rows[0]["hue_error"] == pytest.approx(90)
    assert result.rows[0]["rotating_chroma"] == pytest.approx(0, abs=1e-6)
    assert 0 < result.rows[0]["constant_chroma"] <= result.rows[0]["chroma"]
    assert "Near chance, with a hue that hardly rotates: fc8." in result.findings
    assert not result.claims[0].holds


def test_grids_of_features_and_autoencoders_do_not_test_the_claim(photos):
    inverters = {
        "conv": stub_inverter(echo, "conv5", (3, 3, 10)),
        "auto": stub_inverter(echo, train_encoder=True),
    }
    assert EXPERIMENT.judge(EXPERIMENT.measure(inverters, photos[:8], angles=2)) == []


def hue_errors(rebuild, photos, angles):
    """Errors of colourful photographs, computed one by one: (photograph, angle)."""
    disc = soft_disc(64, 64, 0.8 * 64, 0.1 * 64)
    inside = disc == 1
    errors = []
    for photo in [x for x in photos if np.abs(chroma(x[inside])).mean() >= 0.1]:
        own = chroma(photo[inside])
        for degrees in angles:
            shown = photo + disc[..., np.newaxis] * (rotate_hue(photo, degrees) - photo)
            (rebuilt,) = rebuild(shown[np.newaxis])
            angle = np.degrees(np.angle(np.vdot(own, chroma(rebuilt[inside]))))
            errors.append(abs((angle - degrees + 180) % 360 - 180))
    return np.reshape(errors, (-1, len(angles)))


def test_errors_as_computed_by_hand(photos):
    photos = photos[:16]

    def fade(images):
        """Desaturates towards a constant colour."""
        return 0.6 * images + 0.4 * np.float32([0.3, 0.5, 0.6])

    result = EXPERIMENT.run({"fade": stub_inverter(fade, "conv1")}, photos, {"angles": 4})
    (row,) = result.rows
    assert row["layer"] == "conv1" and row["kind"] == "inversion network"
    errors = hue_errors(fade, photos, (0, 90, 180, 270))
    assert row["photographs"] == len(errors) >= 4
    assert f"{len(errors)} of 16 photographs" in result.lead
    assert row["hue_error"] == pytest.approx(errors.mean(), abs=0.05) and errors.mean() > 5
    spread = errors.mean(1).std(ddof=1) / np.sqrt(len(errors))
    assert row["hue_error_se"] == pytest.approx(spread, abs=0.02)
    assert len(result.figures) == 3
    assert all(figure.image.ndim == 3 for figure in result.figures)
    again = EXPERIMENT.measure({"fade": stub_inverter(fade, "conv1")}, photos, angles=4)
    assert again.rows == result.rows


@pytest.mark.slow
def test_shipped_inverters_as_computed_by_hand(photos):
    photos = photos[:16]
    inverters = {name: tfinvert.load(name) for name in ("alexnet-conv1-64", "hog-64")}
    result = EXPERIMENT.run(inverters, photos, {"angles": 4})
    conv1, hog = result.rows
    errors = hue_errors(inverters["alexnet-conv1-64"].reconstruct, photos, (0, 90, 180, 270))
    assert conv1["photographs"] == len(errors) >= 4
    assert conv1["hue_error"] == pytest.approx(errors.mean(), abs=0.05)
    spread = errors.mean(1).std(ddof=1) / np.sqrt(len(errors))
    assert conv1["hue_error_se"] == pytest.approx(spread, abs=0.02)
    assert conv1["hue_error"] < 20
    # HOG is computed on the grey image: its reconstructions keep the hue they guess.
    assert hog["hue_error"] > 70
    assert hog["rotating_chroma"] < 0.1
    again = EXPERIMENT.run(inverters, photos, {"angles": 4})
    assert dataclasses.replace(again, figures=[]) == dataclasses.replace(result, figures=[])


@pytest.mark.parametrize("settings", [{"angles": 1}, {"size": 0.0}, {"size": 1.5}])
def test_settings_out_of_range_are_refused(photos, settings):
    with pytest.raises(InputError, match=r"at least 2 angles and a size in \(0, 1\]. Received"):
        EXPERIMENT.run({"echo": stub_inverter(echo)}, photos[:8], settings)


def test_a_disc_smaller_than_a_pixel_is_refused(photos):
    with pytest.raises(InputError, match="a disc of 0.001 of the image's width contains no pixel"):
        EXPERIMENT.run({"echo": stub_inverter(echo)}, photos[:8], {"size": 0.001})


def test_grey_photographs_are_left_out_and_refused_alone(photos):
    grey = np.repeat(photos[:4].mean(-1, keepdims=True), 3, -1)
    inverters = {"echo": stub_inverter(echo)}
    with pytest.raises(InputError, match="colour in the centre. Received: 1 among 5"):
        EXPERIMENT.measure(inverters, np.concatenate([grey, photos[:1]]))
    measurement = EXPERIMENT.measure(inverters, np.concatenate([grey, photos[:3]]), angles=2)
    assert measurement.rows[0]["photographs"] <= 3
