"""Predicted uncertainty of brightness, colour and edges."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis import claims
from tfinvert.analysis.claims import UNCERTAIN
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.uncertainty import (
    EXPERIMENT,
    component_deviations,
    edge_mask,
)
from tfinvert.networks.uncertainty import COLOR_AXES

LAYERS = ("conv1", "fc8")


@pytest.fixture(scope="module")
def images(photos):
    return photos[::3]


@pytest.fixture(scope="module")
def result(images, load_shipped):
    inverters = {layer: load_shipped(f"alexnet-{layer}-64") for layer in LAYERS}
    return EXPERIMENT.run(inverters, images)


def test_brightness_and_color_add_up_to_the_mean_square(photos):
    difference = np.random.default_rng(0).normal(size=photos.shape) * [0.1, 0.2, 0.3]
    found = component_deviations(np.square(difference @ COLOR_AXES.T), photos)
    whole = np.square(difference).mean((1, 2, 3))
    np.testing.assert_allclose(found["brightness"] ** 2 + found["color"] ** 2, whole, rtol=1e-6)
    grey = component_deviations(np.square(np.full_like(photos, 0.1) @ COLOR_AXES.T), photos)
    np.testing.assert_allclose(grey["brightness"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(grey["edges"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(grey["color"], 0, atol=1e-6)


def test_edges_are_the_steepest_tenth():
    image = np.zeros((1, 20, 20, 3), np.float32)
    image[:, :, 10:] = 1
    rows, columns = np.nonzero(edge_mask(image)[0])
    assert set(columns) == {9, 10} and set(rows) == set(range(20))


def test_rows_equal_the_predictions_of_the_inverters(result, images, load_shipped):
    assert [row["layer"] for row in result.rows] == [*LAYERS]
    inverter = load_shipped("alexnet-fc8-64")
    features = inverter.encode(images)
    predicted = np.sqrt(np.square(inverter.uncertainty(features)).mean((1, 2, 3)))
    row = result.rows[1]
    both = np.hypot(row["brightness_std"], row["color_std"])  # of means: about the mean of both
    assert both == pytest.approx(predicted.mean(), rel=0.02)
    difference = np.abs((inverter.invert(features) - images) @ COLOR_AXES.T)
    within = (difference <= inverter.uncertainty(features, along="axes")).mean()
    assert row["coverage"] == pytest.approx(within, abs=1e-4)
    assert f"fc8 {within:.1%}" in result.findings[1]
    assert [figure.title for figure in result.figures] == [
        "Uncertainty by layer",
        "Calibration by layer",
        "Maps of uncertainty",
    ]


def test_deeper_layers_are_less_certain_of_all_components(result):
    (claim,) = result.claims
    assert claim.holds
    first, last = result.rows
    assert all(first[f"{part}_std"] < last[f"{part}_std"] for part in UNCERTAIN)


def judge(**deviations):
    return claims.uncertainty(Measurement(make_table([]), {"deviations": deviations}))


def test_the_claim_is_on_all_components_and_several_layers():
    low = {part: np.random.default_rng(0).uniform(0.1, 0.2, 50) for part in UNCERTAIN}
    high = {part: values + 0.1 for part, values in low.items()}
    (claim,) = judge(conv1=low, fc8=high)
    assert claim.holds and claim.value.startswith(f"conv1 {low['brightness'].mean():.3f}, ")
    (claim,) = judge(conv1=low, fc8=high | {"color": low["color"]})
    assert not claim.holds
    assert not judge(fc8=high)


def test_an_inverter_without_an_uncertainty_head_is_refused(inverter, photos):
    with pytest.raises(tfinvert.InputError, match="--uncertainty=frozen. Received: mine"):
        EXPERIMENT.check("mine", inverter)
    with pytest.raises(tfinvert.InputError, match="--uncertainty=frozen. Received: mine"):
        EXPERIMENT.run({"mine": inverter}, photos)
