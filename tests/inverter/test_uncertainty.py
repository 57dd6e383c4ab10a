"""Predicted uncertainty: files, shapes, sizes, evaluation and report."""

import json

import numpy as np
import pytest
import skimage.data

import tfinvert
from tests.untrained import untrained_inverter
from tfinvert.inverter import Inverter, tiling
from tfinvert.inverter.serialization import ARRAYS_FILE
from tfinvert.metrics.evaluation import COVERAGE_KEY, evaluate, mean_image_baseline
from tfinvert.networks.uncertainty import COLOR_AXES, UncertaintyHead, build_head
from tfinvert.reporting.run_report import comparison_grid, write_run_report
from tfinvert.zoo.registry import CARD_FILE


def with_random_head(inverter, calibration=(1.0, 0.5, 2.0)):
    """Returns an inverter with an uncertainty head of random weights."""
    head = build_head(inverter.network)
    rng = np.random.default_rng(1)
    head.set_weights(
        [
            w + rng.normal(0, 1 / np.sqrt(np.prod(w.shape[:-1]) + 1), w.shape)
            for w in head.get_weights()
        ]
    )
    parts = (inverter.feature, inverter.standardization, inverter.network, inverter.card)
    return Inverter(*parts, UncertaintyHead(head, np.array(calibration, np.float32)))


@pytest.fixture(scope="module")
def with_head(tiny_inverter):
    return with_random_head(tiny_inverter)


def test_uncertainty_is_a_standard_deviation_per_pixel(with_head, few_photos):
    features = with_head.encode(few_photos)
    deviations = with_head.uncertainty(features)
    assert deviations.shape == few_photos.shape and deviations.dtype == np.float32
    assert (deviations > 0).all() and deviations.std() > 0.01
    # Reference: the head on the last maps, layer by layer, and the covariance of each pixel.
    network = with_head.network
    (maps,) = [layer.input for layer in network.layers if layer.name == "image"]
    before = type(network)(network.input, maps)
    log_variance = with_head.uncertainty_head.head(before(with_head.standardization(features)))
    axes = np.exp(np.clip(log_variance, -13, 3) / 2) * [1.0, 0.5, 2.0]
    np.testing.assert_allclose(with_head.uncertainty(features, along="axes"), axes, rtol=1e-3)
    covariance = np.einsum("ki,...k,kj->...ij", COLOR_AXES, axes**2, COLOR_AXES)
    expected = np.sqrt(np.einsum("...ii->...i", covariance))
    np.testing.assert_allclose(deviations, expected, rtol=1e-3)


def test_a_saved_inverter_predicts_the_same_uncertainty(with_head, few_photos, tmp_path):
    with_head.save(tmp_path / "saved")
    loaded, features = tfinvert.load(tmp_path / "saved"), with_head.encode(few_photos)
    np.testing.assert_array_equal(loaded.uncertainty(features), with_head.uncertainty(features))
    np.testing.assert_array_equal(loaded.reconstruct(few_photos), with_head.reconstruct(few_photos))
    np.testing.assert_array_equal(
        loaded.uncertainty_head.calibration, with_head.uncertainty_head.calibration
    )
    assert "initializer" not in (tmp_path / "saved" / CARD_FILE).read_text()
    with_head.save(tmp_path / "small", "float16")
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(
        small.uncertainty(features), with_head.uncertainty(features), rtol=0.1
    )
    loaded.round_weights("float16")
    np.testing.assert_array_equal(loaded.uncertainty(features), small.uncertainty(features))


def test_a_file_without_its_calibration_is_not_complete(with_head, tmp_path):
    with_head.save(tmp_path / "saved")
    arrays = dict(np.load(tmp_path / "saved" / ARRAYS_FILE))
    del arrays["spread/calibration"]
    np.savez(tmp_path / "saved" / ARRAYS_FILE, **arrays)
    with pytest.raises(tfinvert.InputError, match="not a complete inverter"):
        tfinvert.load(tmp_path / "saved")


def test_a_replaced_head_is_used(with_head, few_photos):
    features = with_head.encode(few_photos[:2])
    before = with_head.uncertainty(features, along="axes")
    parts = with_head.feature, with_head.standardization, with_head.network
    inverter = Inverter(*parts, uncertainty_head=with_head.uncertainty_head)
    inverter.uncertainty(features)
    doubled = 2 * with_head.uncertainty_head.calibration
    inverter.uncertainty_head = UncertaintyHead(with_head.uncertainty_head.head, doubled)
    after = inverter.uncertainty(features, along="axes")
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


def test_without_a_head_the_error_names_the_flags(tiny_inverter, few_photos):
    with pytest.raises(tfinvert.InputError) as caught:
        tiny_inverter.uncertainty(tiny_inverter.encode(few_photos[:1]))
    assert str(caught.value) == (
        "this hog inverter has no uncertainty head; retrain with --uncertainty=joint, or add one "
        "with --init_from=INVERTER --uncertainty=frozen"
    )


def test_wrong_input_is_rejected(with_head):
    message = r"features of hog must have the shape .*\(1, 8, 8, 30\)"
    with pytest.raises(tfinvert.InputError, match=message):
        with_head.uncertainty(np.zeros((1, 8, 8, 30)))
    with pytest.raises(tfinvert.InputError, match="along must be rgb or axes. Received: 'lab'"):
        with_head.uncertainty(np.zeros((1, 8, 8, 31)), along="lab")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["paper", pytest.param("residual", marks=pytest.mark.slow)])
def test_any_size_and_tiles_without_seams(network, monkeypatch):
    with_head = with_random_head(untrained_inverter("hog", network))
    photo = skimage.data.astronaut() / np.float32(255)
    features = with_head.encode(photo[np.newaxis, :320, :384])
    whole = with_head.uncertainty(features)
    assert whole.shape == (1, 320, 384, 3)
    resized = with_head.at((320, 384))
    np.testing.assert_allclose(resized.uncertainty(features), whole, rtol=1e-3)
    pair = with_head.uncertainty([features[0], features[0, :16, :16]])
    np.testing.assert_allclose(pair[0], whole[0], rtol=1e-3)
    monkeypatch.setattr(tiling, "MAX_TILE_PIXELS", 2**12)
    np.testing.assert_allclose(with_head.uncertainty(features), whole, rtol=1e-3)


def test_evaluation_reports_the_coverage(with_head, few_photos, tmp_path):
    evaluation = evaluate(with_head, few_photos)
    features = with_head.encode(few_photos)
    difference = with_head.reconstruct(few_photos) - few_photos
    within = np.abs(difference) <= with_head.uncertainty(features)
    assert evaluation.metrics[COVERAGE_KEY] == pytest.approx(within.mean(), abs=1e-4)
    along = np.abs(np.einsum("...c,kc->...k", difference, COLOR_AXES))
    shares = (along <= with_head.uncertainty(features, along="axes")).mean((0, 1, 2))
    names = [f"{COVERAGE_KEY}_{axis}" for axis in ("brightness", "red_green", "blue_yellow")]
    found = [evaluation.metrics[name] for name in names]
    np.testing.assert_allclose(found, shares, atol=1e-4)
    without = type(evaluation)(evaluation.images, evaluation.reconstructions, evaluation.metrics)
    assert comparison_grid(evaluation).shape[0] > 1.5 * comparison_grid(without).shape[0]
    write_run_report(
        tmp_path,
        feature="hog",
        photographs="photographs",
        evaluation=evaluation,
        baseline_name="mean",
        baseline=mean_image_baseline(evaluation, few_photos.mean(0)),
        history=(),
        details={},
    )
    assert f"{within.mean():.1%}" in (tmp_path / "report.html").read_text()
    written = json.loads((tmp_path / "metrics.json").read_text())["inverter"]
    assert written[COVERAGE_KEY] == evaluation.metrics[COVERAGE_KEY]
