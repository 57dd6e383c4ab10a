"""Objects put at known places, and where the shipped inverters show them."""

import dataclasses

import cv2
import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.compositing import (
    choose_objects,
    soft_disc,
)
from tfinvert.analysis.experiments.position import EXPERIMENT
from tfinvert.errors import InputError


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
    assert EXPERIMENT.judge(EXPERIMENT.measure(inverters, photos[:4], places=2)) == []
    inverters["echo"] = stub_inverter(echo, "fc6")
    (claim,) = EXPERIMENT.judge(EXPERIMENT.measure(inverters, photos[:4], places=2))
    assert claim.holds


def blur(images):
    return np.stack([cv2.blur(image, (5, 5)) for image in images])


@pytest.mark.parametrize("shipped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_inverter_as_computed_by_hand(photos, shipped):
    photos = photos[:16]
    inverter = tfinvert.load("alexnet-conv4-64") if shipped else stub_inverter(blur, "conv4")
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
    assert EXPERIMENT.measure({"alexnet-conv4-64": inverter}, photos, **settings).rows == [row]
    if shipped:
        again = EXPERIMENT.run({"alexnet-conv4-64": inverter}, photos, settings)
        assert dataclasses.replace(again, figures=[]) == dataclasses.replace(result, figures=[])


@pytest.mark.parametrize(
    "settings", [{"places": 1}, {"size": 0.01}, {"size": 1.0}, {"backgrounds": 1}]
)
def test_settings_out_of_range_are_refused(photos, settings):
    with pytest.raises(InputError, match="at least 2 images, backgrounds and places"):
        EXPERIMENT.run({"echo": stub_inverter(echo, "fc6")}, photos[:4], settings)
