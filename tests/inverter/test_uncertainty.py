"""What an inverter tells of its own error: files, shapes, sizes, evaluation and report."""

import json

import numpy as np
import pytest
import skimage.data

import tfinvert
from tests.untrained import made
from tfinvert.inverter import Inverter, tiling
from tfinvert.inverter.serialization import ARRAYS, CARD
from tfinvert.metrics.evaluation import COVERAGE_KEY, evaluate, mean_image_baseline
from tfinvert.networks import uncertainty
from tfinvert.reporting.run_report import comparison_grid, write_run_report


def told(inverter, calibration=(1.0, 0.5, 2.0)):
    """The same inverter, with a spread of random weights."""
    head = uncertainty.build_head(inverter.network)
    rng = np.random.default_rng(1)
    head.set_weights(
        [
            w + rng.normal(0, 1 / np.sqrt(np.prod(w.shape[:-1]) + 1), w.shape)
            for w in head.get_weights()
        ]
    )
    parts = (inverter.feature, inverter.standardization, inverter.network, inverter.card)
    return Inverter(*parts, uncertainty.UncertaintyHead(head, np.array(calibration, np.float32)))


@pytest.fixture(scope="module")
def telling(inverter):
    return told(inverter)


def test_uncertainty_is_a_deviation_of_every_pixel(telling, photos):
    features = telling.encode(photos)
    deviations = telling.uncertainty(features)
    assert deviations.shape == photos.shape and deviations.dtype == np.float32
    assert (deviations > 0).all() and deviations.std() > 0.01
    # reference: the head on the maps, layer by layer, and the covariance of each pixel
    network, maps = telling.network, None
    for layer in network.layers:
        if layer.name == "image":
            maps = layer.input
    before = type(network)(network.input, maps)
    logarithm = telling.spread.head(before(telling.standardization(features)))
    along = np.exp(np.clip(logarithm, -13, 3) / 2) * [1.0, 0.5, 2.0]
    np.testing.assert_allclose(telling.uncertainty(features, along="axes"), along, rtol=1e-3)
    covariance = np.einsum(
        "ki,...k,kj->...ij", uncertainty.COLOR_AXES, along**2, uncertainty.COLOR_AXES
    )
    expected = np.sqrt(np.einsum("...ii->...i", covariance))
    np.testing.assert_allclose(deviations, expected, rtol=1e-3)


def test_what_is_saved_tells_the_same(telling, photos, tmp_path):
    telling.save(tmp_path / "saved")
    loaded, features = tfinvert.load(tmp_path / "saved"), telling.encode(photos)
    np.testing.assert_array_equal(loaded.uncertainty(features), telling.uncertainty(features))
    np.testing.assert_array_equal(loaded.reconstruct(photos), telling.reconstruct(photos))
    np.testing.assert_array_equal(loaded.spread.calibration, telling.spread.calibration)
    assert "initializer" not in (tmp_path / "saved" / CARD).read_text()
    telling.save(tmp_path / "small", "float16")
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(small.uncertainty(features), telling.uncertainty(features), rtol=0.1)
    rounded = tfinvert.load(tmp_path / "saved")
    rounded.round_weights("float16")
    np.testing.assert_array_equal(rounded.uncertainty(features), small.uncertainty(features))


def test_a_file_without_its_calibration_is_not_whole(telling, tmp_path):
    telling.save(tmp_path / "saved")
    arrays = dict(np.load(tmp_path / "saved" / ARRAYS))
    del arrays["spread/calibration"]
    np.savez(tmp_path / "saved" / ARRAYS, **arrays)
    with pytest.raises(tfinvert.InputError, match="not a whole inverter"):
        tfinvert.load(tmp_path / "saved")


def test_without_a_spread_it_says_how_to_have_one(inverter, photos):
    with pytest.raises(tfinvert.InputError) as caught:
        inverter.uncertainty(inverter.encode(photos[:1]))
    assert str(caught.value) == (
        "this inverter of hog does not tell its uncertainty: train it with --spread=beside, or "
        "with --start=INVERTER --spread=alone what it lacks"
    )


def test_wrong_input_is_refused_in_one_line(telling):
    with pytest.raises(tfinvert.InputError, match=r"features of hog have the shape .*\(1, 8, 8, 3"):
        telling.uncertainty(np.zeros((1, 8, 8, 3)))
    with pytest.raises(tfinvert.InputError, match="along must be rgb or axes. Received: 'lab'"):
        telling.uncertainty(np.zeros((1, 8, 8, 31)), along="lab")


@pytest.mark.parametrize("network", ["paper", "residual"])
def test_any_size_and_pieces_without_a_seam(network, monkeypatch):
    telling, photo = told(made("hog", network)), skimage.data.astronaut() / np.float32(255)
    features = telling.encode(photo[np.newaxis, :320, :384])
    whole = telling.uncertainty(features)
    assert whole.shape == (1, 320, 384, 3)
    own = telling.at((320, 384))
    np.testing.assert_allclose(own.uncertainty(features), whole, rtol=1e-3)
    pair = telling.uncertainty([features[0], features[0, :16, :16]])
    np.testing.assert_allclose(pair[0], whole[0], rtol=1e-3)
    monkeypatch.setattr(tiling, "MAX_TILE_PIXELS", 2**12)
    np.testing.assert_allclose(telling.uncertainty(features), whole, rtol=1e-3)


def test_evaluation_counts_what_is_within_one_deviation(telling, photos, tmp_path):
    evaluation = evaluate(telling, photos)
    features = telling.encode(photos)
    difference = telling.reconstruct(photos) - photos
    within = np.abs(difference) <= telling.uncertainty(features)
    assert evaluation.metrics[COVERAGE_KEY] == pytest.approx(within.mean(), abs=1e-4)
    along = np.abs(np.einsum("...c,kc->...k", difference, uncertainty.COLOR_AXES))
    shares = (along <= telling.uncertainty(features, along="axes")).mean((0, 1, 2))
    names = [f"{COVERAGE_KEY}_{axis}" for axis in ("brightness", "red_green", "blue_yellow")]
    found = [evaluation.metrics[name] for name in names]
    np.testing.assert_allclose(found, shares, atol=1e-4)
    assert comparison_grid(evaluation).shape[0] > 1.5 * comparison_grid(plain(evaluation)).shape[0]
    write_run_report(
        tmp_path,
        feature="hog",
        photographs="photographs",
        evaluation=evaluation,
        baseline_name="mean",
        baseline=mean_image_baseline(evaluation, photos.mean(0)),
        history=(),
        details={},
    )
    report = (tmp_path / "report.html").read_text()
    assert f"{within.mean():.1%} are within the deviation" in report
    written = json.loads((tmp_path / "metrics.json").read_text())["inverter"]
    assert written[COVERAGE_KEY] == evaluation.metrics[COVERAGE_KEY]


def plain(evaluation):
    """The same, of an inverter without a spread."""
    return type(evaluation)(evaluation.images, evaluation.reconstructions, evaluation.metrics)
