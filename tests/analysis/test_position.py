"""Objects put at known places, and where the shipped inverters show them."""

import dataclasses

import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.compositing import (
    center_crop,
    change_centroid,
    choose_objects,
    paste,
    position_correlation,
    soft_disc,
)
from tfinvert.analysis.experiments.position import EXPERIMENT
from tfinvert.errors import InputError


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


def test_what_gives_the_photograph_back_shows_the_place(photos):
    inverters = {
        "echo": stub_inverter(echo, "fc6"),
        "blind": stub_inverter(np.zeros_like, "fc7"),
    }
    result = EXPERIMENT.run(inverters, photos[:16], {"places": 3, "size": 0.25})
    perfect, blind = result.rows
    assert perfect["correlation"] > 0.99 and perfect["position_error"] < 0.03
    assert blind["correlation"] == 0
    middle = (4 * np.hypot(1, 1) + 4) / 9 * 24 / 64
    assert blind["center_error"] == pytest.approx(middle)
    assert blind["position_error"] == pytest.approx(middle)
    assert "No better than guessing the centre: fc7." in result.findings
    assert not result.claims[0].holds
    first, second = result.claims[0].value.split(", ")
    assert first.startswith(f"fc6 {perfect['correlation']:.3f} ± ")
    assert second == "fc7 0.000 ± 0.000"


def test_the_claim_is_about_fully_connected_inversion_networks(photos):
    inverters = {
        "conv": stub_inverter(np.zeros_like, "conv5", (3, 3, 10)),
        "auto": stub_inverter(np.zeros_like, "fc6", train_encoder=True),
    }
    assert EXPERIMENT.run(inverters, photos[:4], {"places": 2}).claims == []
    (claim,) = EXPERIMENT.run(
        inverters | {"echo": stub_inverter(echo, "fc6")}, photos[:4], {"places": 2}
    ).claims
    assert claim.holds


def test_a_shipped_inverter_as_computed_by_hand(photos):
    photos = photos[:16]
    inverter = tfinvert.load("alexnet-conv4-64")
    settings = {"places": 2, "backgrounds": 3, "seed": 5}
    result = EXPERIMENT.run({"alexnet-conv4-64": inverter}, photos, settings)
    (row,) = result.rows
    assert row["layer"] == "conv4" and row["backgrounds"] == 3
    own, cuts = np.array([0, 7, 15]), photos[:, 22:41, 22:41]
    sources = choose_objects(
        cuts.mean((1, 2)), photos[own].mean((1, 2)), own, np.random.default_rng(5)
    )
    mask = soft_disc(19, 19, 19, 0.2 * 19)[..., np.newaxis]
    distances = []
    for i, source in zip(own, sources, strict=True):
        for top in (0, 45):
            for left in (0, 45):
                scene = photos[i].copy()
                window = scene[top : top + 19, left : left + 19]
                window[:] = mask * cuts[source] + (1 - mask) * window
                before, after = inverter.reconstruct(np.stack([photos[i], scene]))
                change = ((after - before) ** 2).sum(-1)
                change = np.clip(change - np.median(change), 0, None)
                y, x = np.average(np.mgrid[:64, :64], axis=(1, 2), weights=change)
                distances.append(np.hypot(x - left - 9, y - top - 9) / 64)
    assert row["position_error"] == pytest.approx(np.mean(distances), rel=1e-3)
    error = np.reshape(distances, (3, 4)).mean(1).std(ddof=1) / np.sqrt(3)
    assert row["position_error_se"] == pytest.approx(error, rel=1e-2)
    assert row["correlation"] > 0.95
    assert 0 < row["correlation_se"] < 0.05
    assert len(result.figures) == 3
    assert all(figure.image.ndim == 3 for figure in result.figures)
    again = EXPERIMENT.run({"alexnet-conv4-64": inverter}, photos, settings)
    assert dataclasses.replace(again, figures=[]) == dataclasses.replace(result, figures=[])


@pytest.mark.parametrize(
    "settings", [{"places": 1}, {"size": 0.01}, {"size": 1.0}, {"backgrounds": 1}]
)
def test_settings_out_of_range_are_refused(photos, settings):
    with pytest.raises(InputError, match="at least 2 images, backgrounds and places"):
        EXPERIMENT.run({"echo": stub_inverter(echo, "fc6")}, photos[:4], settings)
