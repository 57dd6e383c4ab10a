"""What inverters tell of their own error, by brightness, colour and edges."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis import claims
from tfinvert.analysis.uncertainty import (
    WITHIN,
    check,
    component_deviations,
    edge_mask,
    uncertainty,
)
from tfinvert.networks.uncertainty import COLOR_AXES

LAYERS = ("conv1", "fc8")


@pytest.fixture(scope="module")
def result(photos):
    inverters = {layer: tfinvert.load(f"alexnet-{layer}-64") for layer in LAYERS}
    return uncertainty(inverters, photos)


def test_brightness_and_colour_are_all_there_is(photos):
    difference = np.random.default_rng(0).normal(size=photos.shape) * [0.1, 0.2, 0.3]
    found = component_deviations(np.square(difference @ COLOR_AXES.T), photos)
    whole = np.square(difference).mean((1, 2, 3))
    np.testing.assert_allclose(found["brightness"] ** 2 + found["colour"] ** 2, whole, rtol=1e-6)
    grey = component_deviations(np.square(np.full_like(photos, 0.1) @ COLOR_AXES.T), photos)
    np.testing.assert_allclose(grey["brightness"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(grey["edges"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(grey["colour"], 0, atol=1e-6)


def test_edges_are_the_steepest_tenth():
    image = np.zeros((1, 20, 20, 3), np.float32)
    image[:, :, 10:] = 1
    rows, columns = np.nonzero(edge_mask(image)[0])
    assert set(columns) == {9, 10} and set(rows) == set(range(20))


def test_rows_are_what_the_inverters_tell(result, photos):
    assert [row["layer"] for row in result.rows] == [*LAYERS]
    inverter = tfinvert.load("alexnet-fc8-64")
    features = inverter.encode(photos)
    told = np.sqrt(np.square(inverter.uncertainty(features)).mean((1, 2, 3)))
    row = result.rows[1]
    both = np.hypot(row["brightness"], row["colour"])  # of means: about the mean of both
    assert both == pytest.approx(told.mean(), rel=0.02)
    difference = np.abs((inverter.invert(features) - photos) @ COLOR_AXES.T)
    within = (difference <= inverter.uncertainty(features, along="axes")).mean()
    assert row[WITHIN] == pytest.approx(within, abs=1e-4)
    assert f"fc8 {within:.1%}" in result.findings[1]
    assert [figure.title for figure in result.figures] == [
        "What is uncertain, by layer",
        "Whether it is true",
        "Where it is uncertain",
    ]


def test_deeper_layers_are_less_certain_of_everything(result):
    (claim,) = result.claims
    assert claim.holds
    assert all(result.rows[0][part] < result.rows[1][part] for part in claims.TOLD)


def test_the_claim_is_of_all_three_and_of_several_layers():
    low = {part: np.random.default_rng(0).uniform(0.1, 0.2, 50) for part in claims.TOLD}
    high = {part: values + 0.1 for part, values in low.items()}
    (claim,) = claims.uncertainty({"conv1": low, "fc8": high})
    assert claim.holds and claim.value.startswith(f"conv1 {low['brightness'].mean():.3f}, ")
    (claim,) = claims.uncertainty({"conv1": low, "fc8": high | {"colour": low["colour"]}})
    assert not claim.holds
    assert not claims.uncertainty({"fc8": high})


def test_an_inverter_that_tells_none_is_refused_in_one_line(inverter, photos):
    with pytest.raises(tfinvert.InputError, match="trained with --spread. Received: mine"):
        check("mine", inverter)
    with pytest.raises(tfinvert.InputError, match="trained with --spread. Received: mine"):
        uncertainty({"mine": inverter}, photos)
