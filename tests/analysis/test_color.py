"""Hues turned and measured, on colours whose hue is known, and what the shipped inverters do."""

import colorsys
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.compositing import soft_disc
from tfinvert.analysis.experiments.color import color
from tfinvert.analysis.hue import chroma, chroma_product, hue_error, rotate_hue
from tfinvert.errors import InputError

TURNS = np.arange(12) * 30.0


def stub(rebuild, layer="fc8", shape=(10,), **card):
    feature = SimpleNamespace(
        name=f"net/{layer}", spec=SimpleNamespace(shape=shape), get_config=dict
    )
    return SimpleNamespace(feature=feature, card=card, reconstruct=rebuild)


@pytest.mark.parametrize("degrees", [0.0, 50.0, 330.0, 360.0])
def test_turning_is_hsv_with_another_hue(degrees):
    colors = np.random.default_rng(0).random((3, 4, 3)).astype(np.float32)
    turned = rotate_hue(colors, degrees)
    assert turned.dtype == np.float32
    for before, after in zip(colors.reshape(-1, 3), turned.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
        np.testing.assert_allclose(after, expected, atol=2e-6)


def test_chroma_has_the_hue_for_its_angle():
    red, green, blue = chroma(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose([red, green, blue], np.exp(2j * np.pi / 3 * np.arange(3)), atol=1e-6)
    np.testing.assert_allclose(chroma(np.full((1, 3), 0.3, np.float32)), 0, atol=1e-6)
    colors = np.random.default_rng(1).random((500, 3))
    hues = [360 * colorsys.rgb_to_hsv(*each)[0] for each in colors.tolist()]
    off = (np.degrees(np.angle(chroma(colors))) - hues + 180) % 360 - 180
    assert 1.0 < np.abs(off).max() < 1.13


def test_agreement_is_a_weighted_sum_over_each_image():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 3, 4, 5)) + 1j * rng.random((2, 3, 4, 5))
    mask = rng.random((4, 5)).astype(np.float32)
    expected = [
        sum(mask[y, x] * np.conj(a[i, y, x]) * b[i, y, x] for y in range(4) for x in range(5))
        for i in range(3)
    ]
    np.testing.assert_allclose(chroma_product(a, b, mask), expected, rtol=1e-6)


def test_errors_are_the_short_way_round_and_chance_where_there_is_no_hue():
    follows = 3 * np.exp(1j * np.radians(TURNS + 10))
    stays = np.full(12, 0.2 + 0j)
    agreements = np.stack([follows, stays, np.zeros(12)], 1)
    errors = hue_error(agreements, TURNS)
    np.testing.assert_allclose(errors[:, 0], 10, atol=1e-9)
    np.testing.assert_allclose(errors[:, 1], np.minimum(TURNS, 360 - TURNS), atol=1e-9)
    np.testing.assert_allclose(errors.mean(0), [10, 90, 90], atol=1e-9)


def test_what_gives_the_photograph_back_follows_in_full(photos):
    result = color({"echo": stub(lambda images: images)}, photos[:16], angles=6)
    (row,) = result.rows
    assert row["mean error (degrees)"] < 1.13
    assert row["strength"] == pytest.approx(1, abs=0.05)
    assert row["part that follows"] == pytest.approx(1, abs=0.05)
    assert row["part that stays"] == pytest.approx(0, abs=0.05)
    assert result.claims[0].holds


def test_what_gives_one_hue_stays(photos):
    red = np.broadcast_to(np.float32([0.8, 0.2, 0.2]), photos.shape)
    given = {
        "red": stub(lambda images: red[: len(images)]),
        "echo": stub(lambda images: images, "fc7"),
    }
    result = color(given, photos[:16], angles=4)
    assert result.rows[0]["mean error (degrees)"] == pytest.approx(90)
    assert result.rows[0]["part that follows"] == pytest.approx(0, abs=1e-6)
    assert 0 < result.rows[0]["part that stays"] <= result.rows[0]["strength"]
    assert "Near chance, since the hue hardly turns: fc8." in result.findings
    assert not result.claims[0].holds


def test_grids_of_features_and_autoencoders_do_not_test_the_claim(photos):
    given = {
        "conv": stub(lambda images: images, "conv5", (3, 3, 10)),
        "auto": stub(lambda images: images, train_encoder=True),
    }
    assert color(given, photos[:8], angles=2).claims == []


def test_the_shipped_inverters_as_computed_by_hand(photos):
    photos = photos[:16]
    names = ["alexnet-conv1-64", "hog-64"]
    inverters = {name: tfinvert.load(name) for name in names}
    result = color(inverters, photos, angles=4)
    conv1, hog = result.rows
    assert conv1["layer"] == "conv1" and conv1["kind"] == "inversion network"

    disc = soft_disc(64, 64, 0.8 * 64, 0.1 * 64)
    inside = disc == 1
    vivid = [x for x in photos if np.abs(chroma(x[inside])).mean() >= 0.1]
    assert conv1["photographs"] == len(vivid) >= 4
    assert f"{len(vivid)} of 16 photographs" in result.lead
    errors = []
    for photo in vivid:
        own = chroma(photo[inside])
        for degrees in (0, 90, 180, 270):
            shown = photo + disc[..., np.newaxis] * (rotate_hue(photo, degrees) - photo)
            (rebuilt,) = inverters["alexnet-conv1-64"].reconstruct(shown[np.newaxis])
            turn = np.degrees(np.angle(np.vdot(own, chroma(rebuilt[inside]))))
            errors.append(abs((turn - degrees + 180) % 360 - 180))
    assert conv1["mean error (degrees)"] == pytest.approx(np.mean(errors), abs=0.05)
    spread = np.reshape(errors, (-1, 4)).mean(1).std(ddof=1) / np.sqrt(len(vivid))
    assert conv1["standard error (degrees)"] == pytest.approx(spread, abs=0.02)
    assert conv1["mean error (degrees)"] < 20
    # HOG is computed on the grey image: its reconstructions keep the hue they guess.
    assert hog["mean error (degrees)"] > 70
    assert hog["part that follows"] < 0.1
    assert len(result.figures) == 3
    assert all(figure.image.ndim == 3 for figure in result.figures)
    again = color(inverters, photos, angles=4)
    assert dataclasses.replace(again, figures=[]) == dataclasses.replace(result, figures=[])


@pytest.mark.parametrize("settings", [{"angles": 1}, {"size": 0.0}, {"size": 1.5}])
def test_settings_out_of_range_are_refused(photos, settings):
    with pytest.raises(InputError, match="angles are at least 2"):
        color({"echo": stub(lambda images: images)}, photos[:8], **settings)


def test_a_disc_below_a_pixel_is_refused(photos):
    with pytest.raises(InputError, match="a disc of 0.001 of the width has no pixel"):
        color({"echo": stub(lambda images: images)}, photos[:8], size=0.001)


def test_grey_photographs_are_left_out_and_refused_alone(photos):
    grey = np.repeat(photos[:4].mean(-1, keepdims=True), 3, -1)
    given = {"echo": stub(lambda images: images)}
    with pytest.raises(InputError, match="colour in the middle. Received: 1 among 5"):
        color(given, np.concatenate([grey, photos[:1]]))
    result = color(given, np.concatenate([grey, photos[:3]]), angles=2)
    assert result.rows[0]["photographs"] <= 3
