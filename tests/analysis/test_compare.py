"""Methods beside each other: a feature of means, and a shipped inverter."""

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert import InputError, metrics
from tfinvert.analysis import claims
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import default_smoothness
from tfinvert.analysis.compare import check, compare
from tfinvert.analysis.inversion_methods import GRADIENT, HYBRID, relative_feature_error
from tfinvert.analysis.inverters import AUTOENCODER, NETWORK
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.common.images import resize_images
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap

UNTOUCHED = Standardization(np.zeros(3, "f4"), np.ones(3, "f4"))


def inverter(layer, cell=16, scale=1.0, grow=None, **card):
    """Means of cells, and a network that gives them back `scale` times as light."""
    images = keras.Input((64, 64, 3))
    cells = keras.layers.AveragePooling2D(cell, name="cells")(images)
    features = keras.Input(cells.shape[1:])
    rebuilt = keras.layers.UpSampling2D(grow or cell)(features)
    rebuilt = keras.layers.Rescaling(scale)(rebuilt)
    tap = Tap(f"alexnet/{layer}", keras.Model(images, cells), {})
    return tfinvert.Inverter(tap, UNTOUCHED, keras.Model(features, rebuilt), card)


def cells(images, cell):
    side = 64 // cell
    means = images.reshape(len(images), side, cell, side, cell, 3).mean((2, 4))
    return means, means.repeat(cell, 1).repeat(cell, 2)


def by_method(result):
    return {row["method"]: row for row in result.rows}


@pytest.fixture(scope="module")
def images(photos):
    return photos[::4][:6]


@pytest.fixture(scope="module")
def result(images):
    """Of a network that makes all too dark, and an autoencoder of finer cells."""
    given = {
        "dark": inverter("conv5", scale=0.5),
        "fine": inverter("conv5", cell=8, train_encoder=True),
    }
    return compare(given, images, gradient_images=4, gradient_steps=20)


def test_relative_distance():
    values = np.float32([[3, 4], [0, 2], [0, 0], [1, 0]])
    references = np.float32([[3, 0], [0, 4], [0, 0], [0, 0]])
    np.testing.assert_allclose(relative_feature_error(values, references), [4 / 3, 0.5, 0, np.inf])
    grids = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 4))
    difference = np.linalg.norm((grids[0] - grids[1]).reshape(3, -1), axis=1)
    expected = difference / np.linalg.norm(grids[1].reshape(3, -1), axis=1)
    np.testing.assert_allclose(relative_feature_error(*grids), expected, rtol=1e-6)


def test_rows_are_those_of_the_closed_form(images, result):
    rows, few = by_method(result), images[[0, 1, 3, 5]]
    assert list(rows) == [NETWORK, AUTOENCODER, GRADIENT, HYBRID]
    scale = metrics.mean_pairwise_distance(images)
    means, coarse = cells(few, 16)
    ours = rows[NETWORK]
    assert ours["feature error"] == pytest.approx(0.5, rel=1e-4)  # means half as light
    assert ours["its standard error"] == pytest.approx(0, abs=1e-5)
    error = metrics.normalized_error(few, 0.5 * coarse, scale)
    assert ours["normalised error"] == pytest.approx(error, rel=1e-4)
    assert ours["inverter"] == "dark" and ours["layer"] == "conv5" and ours["images"] == 4
    # Of an autoencoder the feature error is that of the network's feature, whose means it keeps.
    other = rows[AUTOENCODER]
    assert other["inverter"] == "fine"
    assert other["feature error"] == pytest.approx(0, abs=1e-5)
    error = metrics.normalized_error(few, cells(few, 8)[1], scale)
    assert other["normalised error"] == pytest.approx(error, rel=1e-4)
    assert "images of 6 photographs" not in result.lead and "4 of 6 photographs" in result.lead


def test_the_hybrid_starts_from_the_network_and_stays_near(images):
    dark = inverter("conv5", scale=0.5)
    outcome = compare({"dark": dark}, images, gradient_images=4, gradient_steps=1)
    rows = by_method(outcome)
    few = images[[0, 1, 3, 5]]
    start = dark.reconstruct(few)
    scale = metrics.mean_pairwise_distance(images)
    descent = GradientInversion(
        dark.feature,
        steps=1,
        smoothness=default_smoothness(dark.feature),
        learning_rate=0.01,
        nearness=100.0,
    )
    found = descent.invert(dark.encode(few), start)
    assert np.abs(found - start).max() < 0.011  # one step
    error = metrics.normalized_error(few, found, scale)
    assert rows[HYBRID]["normalised error"] == pytest.approx(error, rel=1e-4)
    feature_error = relative_feature_error(dark.encode(found), dark.encode(few)).mean()
    assert rows[HYBRID]["feature error"] == pytest.approx(feature_error, rel=1e-3)
    noise = GradientInversion(dark.feature, steps=1, smoothness=default_smoothness(dark.feature))
    error = metrics.normalized_error(few, noise.invert(dark.encode(few)), scale)
    assert rows[GRADIENT]["normalised error"] == pytest.approx(error, rel=1e-4)


def test_findings_and_figures_say_what_the_rows_say(result):
    rows = by_method(result)
    for method, row in rows.items():
        text = f"{method} {row['feature error']:.3f} and {row['normalised error']:.3f}"
        assert text in result.findings[0]
    assert result.findings[0].startswith("conv5, feature error and image error: ")
    assert rows[HYBRID]["seconds an image"] > rows[NETWORK]["seconds an image"] > 0
    features, errors, pictures = result.figures
    assert ">relative feature error<" in features.svg and ">normalised image error<" in errors.svg
    for word in ("photograph", *rows):
        assert f">{word}<" in pictures.svg
    for claim, name, other in zip(
        result.claims, ("feature error", "normalised error"), (NETWORK, GRADIENT), strict=True
    ):
        gain = rows[other][name] - rows[HYBRID][name]
        assert claim.value.startswith(f"conv5 by {gain:.3f} ± ")


def test_another_output_size_is_resized(images):
    small = inverter("fc6", grow=8)
    rows = by_method(compare({"small": small}, images, gradient_images=3, gradient_steps=1))
    few = images[[0, 2, 5]]
    rebuilt = resize_images(small.reconstruct(few), (64, 64))
    error = relative_feature_error(small.encode(rebuilt), small.encode(few)).mean()
    assert rows[NETWORK]["feature error"] == pytest.approx(error, rel=1e-4)
    assert rows[NETWORK]["feature error"] > 0


def test_a_stopped_run_goes_on(images, tmp_path, monkeypatch):
    given = {"one": inverter("conv5", scale=0.5)}
    settings = {"gradient_images": 2, "gradient_steps": 3, "parts": ResultCache(tmp_path)}
    first = compare(given, images, **settings)
    kept = sorted(path.name for path in (tmp_path / "compare").iterdir())
    assert kept == ["one-gradient.npz", "one-hybrid.npz"]
    monkeypatch.setattr(GradientInversion, "invert", lambda *_: pytest.fail("sought again"))
    again = compare(given, images, **settings)
    assert again.rows[1:2] == first.rows[1:2]
    assert again.rows[2]["feature error"] == first.rows[2]["feature error"]


def test_a_shipped_inverter(photos):
    one, images = tfinvert.load("alexnet-conv5-64"), photos[::16][:3]
    result = compare({"alexnet-conv5-64": one}, images, gradient_steps=12)
    rows, phi = by_method(result), one.encode(images)
    rebuilt = one.reconstruct(images)
    error = np.linalg.norm((one.encode(rebuilt) - phi).reshape(3, -1), axis=1)
    error = (error / np.linalg.norm(phi.reshape(3, -1), axis=1)).mean()
    assert rows[NETWORK]["feature error"] == pytest.approx(error, rel=1e-3)
    assert rows[HYBRID]["feature error"] < 0.8 * error
    assert rows[HYBRID]["normalised error"] < rows[GRADIENT]["normalised error"]


def outcomes(network, gradient, hybrid):
    """(feature error, image error) of each method, of four images."""
    noise = np.float64([[-0.01, 0.0, 0.0, 0.01]])
    methods = ((NETWORK, network), (GRADIENT, gradient), (HYBRID, hybrid))
    return {method: np.reshape(errors, (2, 1)) + noise for method, errors in methods}


def judged(**outcomes):
    errors = [
        {
            (label, method): each[i]
            for label, own in outcomes.items()
            for method, each in own.items()
        }
        for i in range(2)
    ]
    return claims.compare(*errors)


def test_claims_hold_where_they_hold_at_every_layer():
    good = outcomes((0.9, 0.4), (0.3, 0.8), (0.5, 0.5))
    first, second = judged(conv5=good, fc6=good)
    assert first.holds and second.holds
    assert first.value == "conv5 by 0.400 ± 0.000, fc6 by 0.400 ± 0.000"
    assert second.value == "conv5 by 0.300 ± 0.000, fc6 by 0.300 ± 0.000"
    no_feature = outcomes((0.4, 0.4), (0.3, 0.8), (0.5, 0.5))
    assert [each.holds for each in judged(conv5=good, fc6=no_feature)] == [False, True]
    no_image = outcomes((0.9, 0.4), (0.3, 0.4), (0.5, 0.5))
    assert [each.holds for each in judged(conv5=good, fc6=no_image)] == [True, False]
    unsure = dict(good)
    unsure[HYBRID] = good[HYBRID] + np.float64([[-2, 0, 0, 2], [0, 0, 0, 0]])
    assert [each.holds for each in judged(fc6=unsure)] == [False, True]


def test_what_cannot_be_compared_is_refused(images):
    lbp = tfinvert.load("lbp-64")
    with pytest.raises(InputError, match="with a derivative, as alexnet/fc6 or hog. Received: x, "):
        check("x", lbp)
    with pytest.raises(InputError, match="Received: lbp-64, of lbp"):
        compare({"lbp-64": lbp}, images)
    check("hog-64", tfinvert.load("hog-64"))
    alone = inverter("fc6", train_encoder=True)
    check("alone", alone)
    with pytest.raises(InputError, match="beside the inversion network of its layer. Received: al"):
        compare({"one": inverter("conv5"), "alone": alone}, images)
    with pytest.raises(InputError, match="at least two images. Received: 1"):
        compare({"one": inverter("conv5")}, images, gradient_images=1)
