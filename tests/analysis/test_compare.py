"""Inversion methods compared, on a feature of means and with a shipped inverter."""

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert import InputError, metrics
from tfinvert.analysis import claims
from tfinvert.analysis.baselines import GradientInversion
from tfinvert.analysis.baselines.gradient_inversion import default_tv_weight
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.compare import EXPERIMENT
from tfinvert.analysis.inversion_methods import GRADIENT, HYBRID, relative_feature_error
from tfinvert.analysis.inverters import AUTOENCODER, NETWORK
from tfinvert.analysis.result_cache import ResultCache
from tfinvert.common.images import resize_images
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap

IDENTITY = Standardization(np.zeros(3, "f4"), np.ones(3, "f4"))


def inverter(layer, cell=16, scale=1.0, grow=None, **card):
    """Means of cells, and a network that upsamples them and multiplies them by `scale`."""
    images = keras.Input((64, 64, 3))
    cells = keras.layers.AveragePooling2D(cell, name="cells")(images)
    features = keras.Input(cells.shape[1:])
    rebuilt = keras.layers.UpSampling2D(grow or cell)(features)
    rebuilt = keras.layers.Rescaling(scale)(rebuilt)
    tap = Tap(f"alexnet/{layer}", keras.Model(images, cells), {})
    return tfinvert.Inverter(tap, IDENTITY, keras.Model(features, rebuilt), card)


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
    """The outcome with a network that darkens images, and an autoencoder of smaller cells."""
    inverters = {
        "dark": inverter("conv5", scale=0.5),
        "fine": inverter("conv5", cell=8, train_encoder=True),
    }
    return EXPERIMENT.run(inverters, images, {"gradient_images": 4, "gradient_steps": 20})


def test_relative_feature_error():
    values = np.float32([[3, 4], [0, 2], [0, 0], [1, 0]])
    references = np.float32([[3, 0], [0, 4], [0, 0], [0, 0]])
    np.testing.assert_allclose(relative_feature_error(values, references), [4 / 3, 0.5, 0, np.inf])
    grids = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 4))
    difference = np.linalg.norm((grids[0] - grids[1]).reshape(3, -1), axis=1)
    expected = difference / np.linalg.norm(grids[1].reshape(3, -1), axis=1)
    np.testing.assert_allclose(relative_feature_error(*grids), expected, rtol=1e-6)


def test_rows_equal_the_closed_form(images, result):
    rows, few = by_method(result), images[[0, 1, 3, 5]]
    assert list(rows) == [NETWORK, AUTOENCODER, GRADIENT, HYBRID]
    scale = metrics.mean_pairwise_distance(images)
    means, coarse = cells(few, 16)
    ours = rows[NETWORK]
    assert ours["feature_error"] == pytest.approx(0.5, rel=1e-4)  # means half as light
    assert ours["feature_error_se"] == pytest.approx(0, abs=1e-5)
    error = metrics.normalized_error(few, 0.5 * coarse, scale)
    assert ours["normalized_error"] == pytest.approx(error, rel=1e-4)
    assert ours["inverter"] == "dark" and ours["layer"] == "conv5" and ours["images"] == 4
    # The feature error of an autoencoder is that of the network's feature, whose means it keeps.
    other = rows[AUTOENCODER]
    assert other["inverter"] == "fine"
    assert other["feature_error"] == pytest.approx(0, abs=1e-5)
    error = metrics.normalized_error(few, cells(few, 8)[1], scale)
    assert other["normalized_error"] == pytest.approx(error, rel=1e-4)
    assert "images of 6 photographs" not in result.lead and "4 of 6 photographs" in result.lead


@pytest.mark.slow
def test_the_hybrid_starts_from_the_network_and_stays_near(images):
    dark = inverter("conv5", scale=0.5)
    settings = {"gradient_images": 4, "gradient_steps": 1}
    rows = by_method(EXPERIMENT.measure({"dark": dark}, images, **settings))
    few = images[[0, 1, 3, 5]]
    start = dark.reconstruct(few)
    scale = metrics.mean_pairwise_distance(images)
    descent = GradientInversion(
        dark.feature,
        steps=1,
        tv_weight=default_tv_weight(dark.feature),
        learning_rate=0.01,
        proximity_weight=100.0,
    )
    found = descent.invert(dark.encode(few), start)
    assert np.abs(found - start).max() < 0.011  # one step
    error = metrics.normalized_error(few, found, scale)
    assert rows[HYBRID]["normalized_error"] == pytest.approx(error, rel=1e-4)
    feature_error = relative_feature_error(dark.encode(found), dark.encode(few)).mean()
    assert rows[HYBRID]["feature_error"] == pytest.approx(feature_error, rel=1e-3)
    noise = GradientInversion(dark.feature, steps=1, tv_weight=default_tv_weight(dark.feature))
    error = metrics.normalized_error(few, noise.invert(dark.encode(few)), scale)
    assert rows[GRADIENT]["normalized_error"] == pytest.approx(error, rel=1e-4)


def test_findings_figures_and_claims_agree_with_the_rows(result):
    rows = by_method(result)
    for method, row in rows.items():
        text = f"{method} {row['feature_error']:.3f} and {row['normalized_error']:.3f}"
        assert text in result.findings[0]
    assert result.findings[0].startswith("conv5, feature error and image error: ")
    assert rows[HYBRID]["seconds_per_image"] > rows[NETWORK]["seconds_per_image"] > 0
    features, errors, pictures = result.figures
    assert ">relative feature error<" in features.svg and ">normalised image error<" in errors.svg
    for word in ("photograph", *rows):
        assert f">{word}<" in pictures.svg
    columns, methods = ("feature_error", "normalized_error"), (NETWORK, GRADIENT)
    for claim, column, other in zip(result.claims, columns, methods, strict=True):
        gain = rows[other][column] - rows[HYBRID][column]
        assert claim.value.startswith(f"conv5 by {gain:.3f} ± ")


def test_reconstructions_are_resized_and_gradient_inversion_is_cached(
    images, tmp_path, monkeypatch
):
    small = inverter("fc6", grow=8)
    settings = {"gradient_images": 3, "gradient_steps": 1, "cache": ResultCache(tmp_path)}
    first = EXPERIMENT.measure({"one": small}, images, **settings)
    rows = by_method(first)
    few = images[[0, 2, 5]]
    rebuilt = resize_images(small.reconstruct(few), (64, 64))
    error = relative_feature_error(small.encode(rebuilt), small.encode(few)).mean()
    assert rows[NETWORK]["feature_error"] == pytest.approx(error, rel=1e-4)
    assert rows[NETWORK]["feature_error"] > 0
    files = sorted(path.name for path in (tmp_path / "compare").iterdir())
    assert files == ["one-gradient.npz", "one-hybrid.npz"]
    monkeypatch.setattr(GradientInversion, "invert", lambda *_: pytest.fail("computed again"))
    again = EXPERIMENT.measure({"one": small}, images, **settings)
    assert again.rows[1:2] == first.rows[1:2]
    assert again.rows[2]["feature_error"] == first.rows[2]["feature_error"]


@pytest.mark.slow
def test_a_shipped_inverter(photos):
    one, images = tfinvert.load("alexnet-conv5-64"), photos[::16][:3]
    result = EXPERIMENT.measure({"alexnet-conv5-64": one}, images, gradient_steps=12)
    rows, phi = by_method(result), one.encode(images)
    rebuilt = one.reconstruct(images)
    error = np.linalg.norm((one.encode(rebuilt) - phi).reshape(3, -1), axis=1)
    error = (error / np.linalg.norm(phi.reshape(3, -1), axis=1)).mean()
    assert rows[NETWORK]["feature_error"] == pytest.approx(error, rel=1e-3)
    assert rows[HYBRID]["feature_error"] < 0.8 * error
    assert rows[HYBRID]["normalized_error"] < rows[GRADIENT]["normalized_error"]


def outcomes(network, gradient, hybrid):
    """Feature and image errors of four images by method, from the means of both."""
    noise = np.float64([[-0.01, 0.0, 0.0, 0.01]])
    methods = ((NETWORK, network), (GRADIENT, gradient), (HYBRID, hybrid))
    return {method: np.reshape(errors, (2, 1)) + noise for method, errors in methods}


def judge(**outcomes):
    errors = [
        {
            (label, method): each[i]
            for label, own in outcomes.items()
            for method, each in own.items()
        }
        for i in range(2)
    ]
    arrays = {"feature_errors": errors[0], "image_errors": errors[1]}
    return claims.compare(Measurement(make_table([]), arrays))


def test_claims_hold_if_they_hold_at_every_layer():
    good = outcomes((0.9, 0.4), (0.3, 0.8), (0.5, 0.5))
    first, second = judge(conv5=good, fc6=good)
    assert first.holds and second.holds
    assert first.value == "conv5 by 0.400 ± 0.000, fc6 by 0.400 ± 0.000"
    assert second.value == "conv5 by 0.300 ± 0.000, fc6 by 0.300 ± 0.000"
    no_feature = outcomes((0.4, 0.4), (0.3, 0.8), (0.5, 0.5))
    assert [each.holds for each in judge(conv5=good, fc6=no_feature)] == [False, True]
    no_image = outcomes((0.9, 0.4), (0.3, 0.4), (0.5, 0.5))
    assert [each.holds for each in judge(conv5=good, fc6=no_image)] == [True, False]
    unsure = dict(good)
    unsure[HYBRID] = good[HYBRID] + np.float64([[-2, 0, 0, 2], [0, 0, 0, 0]])
    assert [each.holds for each in judge(fc6=unsure)] == [False, True]


def test_unsuitable_inverters_and_images_are_refused(images, load_shipped):
    lbp = load_shipped("lbp-64")
    with pytest.raises(
        InputError, match="differentiable features, such as .* or hog. Received: x, "
    ):
        EXPERIMENT.check("x", lbp)
    with pytest.raises(InputError, match="Received: lbp-64, of lbp"):
        EXPERIMENT.run({"lbp-64": lbp}, images)
    EXPERIMENT.check("hog-64", load_shipped("hog-64"))
    alone = inverter("fc6", train_encoder=True)
    EXPERIMENT.check("alone", alone)
    with pytest.raises(InputError, match="inversion network of its layer; add one of alexnet/fc6"):
        EXPERIMENT.run({"one": inverter("conv5"), "alone": alone}, images)
    with pytest.raises(InputError, match="at least two images. Received: 1"):
        EXPERIMENT.run({"one": inverter("conv5")}, images, {"gradient_images": 1})
