"""Feature interpolation, against closed forms, with linear networks and shipped inverters."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

import tfinvert
from tfinvert import InputError
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.interpolate import EXPERIMENT
from tfinvert.analysis.feature_interpolation import crossfade_score, interpolate_path
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap

IDENTITY = Standardization(np.zeros(3, "f4"), np.ones(3, "f4"))


def inverter(layer, *more, **card):
    """Means of 16×16 pixels, and a network that upsamples them; `more` layers follow."""
    images = keras.Input((64, 64, 3))
    cells = keras.layers.AveragePooling2D(16, name="cells")(images)
    features = keras.Input(cells.shape[1:])
    rebuilt = keras.layers.UpSampling2D(16)(features)
    for each in more:
        rebuilt = each(rebuilt)
    tap = Tap(f"alexnet/{layer}", keras.Model(images, cells), {})
    return tfinvert.Inverter(tap, IDENTITY, keras.Model(features, rebuilt), card)


def nonlinear():
    """A layer whose output halfway is not the mean of its ends: dark below 0.45, light above."""
    return keras.layers.Activation(lambda x: keras.ops.sigmoid(50 * (x - 0.45)))


def norms(features):
    return np.sqrt(np.square(features).reshape(*features.shape[:2], -1).sum(-1))


def test_the_straight_path_equals_a_loop():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 3, 4, 5, 2)).astype(np.float32)
    expected = [start + t * (end - start) for t in (0, 0.25, 0.5, 0.75, 1)]
    found = interpolate_path(start, end, 5)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_the_norm_of_a_path_that_keeps_it_changes_linearly():
    start, end = np.float32([[2, 0], [3, 0]]), np.float32([[0, 4], [3, 0]])
    found = interpolate_path(start, end, 3, keep_norm=True)
    root = np.sqrt(0.5)
    expected = [[[2, 0], [3, 0]], [[3 * root, 3 * root], [3, 0]], [[0, 4], [3, 0]]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    grids = np.random.default_rng(1).normal(size=(2, 6, 3, 3, 2)).astype(np.float32)
    found = norms(interpolate_path(*grids, 5, keep_norm=True))
    np.testing.assert_allclose(found, np.linspace(found[0], found[-1], 5), rtol=1e-5)
    straight = norms(interpolate_path(*grids, 5))
    assert (straight[2] < found[2]).all()
    np.testing.assert_allclose(straight[[0, -1]], found[[0, -1]], rtol=1e-5)


def test_features_without_a_direction():
    nothing, something = np.zeros((1, 3), "f4"), np.float32([[0, 3, 4]])
    np.testing.assert_allclose(
        interpolate_path(nothing, something, 4, keep_norm=True),
        interpolate_path(nothing, something, 4),
        atol=1e-6,
    )
    assert not interpolate_path(nothing, nothing, 3, keep_norm=True).any()
    assert not interpolate_path(something, -something, 3, keep_norm=True)[1].any()
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolate_path(nothing, something, 1)


def test_the_crossfade_score_of_a_mean_and_of_the_ends(photos):
    first, last = photos[:3], photos[3:6]
    np.testing.assert_allclose(crossfade_score(first, (first + last) / 2, last), 1, atol=1e-6)
    np.testing.assert_allclose(crossfade_score(first, last, last), 0, atol=1e-6)
    np.testing.assert_allclose(crossfade_score(first, 2 * last - first, last), -2, atol=1e-5)
    np.testing.assert_array_equal(crossfade_score(first, first, first), 1)
    np.testing.assert_array_equal(crossfade_score(first, last, first), 1)


def test_a_linear_network_cross_fades_and_another_does_not(photos):
    inverters = {"a": inverter("conv5"), "b": inverter("fc6", nonlinear())}
    measurement = EXPERIMENT.measure(inverters, photos[:16], steps=2)
    linear, kept, other, _ = measurement.rows
    assert [linear["path"], kept["path"]] == ["straight", "norm kept"]
    assert linear["crossfade_score"] == pytest.approx(1, abs=1e-4)
    assert linear["crossfade_score_se"] < 1e-4
    assert other["crossfade_score"] < 0.9
    assert linear["pairs"] == 8
    assert EXPERIMENT.judge(measurement)[0].holds
    swapped = {"a": inverter("conv5", nonlinear()), "b": inverter("fc6")}
    assert not EXPERIMENT.judge(EXPERIMENT.measure(swapped, photos[:16], steps=2))[0].holds


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("alexnet-fc6-64",),
        pytest.param(("alexnet-conv5-64", "alexnet-fc6-64"), marks=pytest.mark.slow),
    ],
)
def test_shipped_inverters(photos, load_shipped, names):
    inverters = {name: load_shipped(name) for name in names}
    images = photos[::2][:16]
    result = EXPERIMENT.run(inverters, images, {"seed": 3, "steps": 3})
    order = np.random.default_rng(3).permutation(len(images))
    for name, row in zip(names, result.rows[::2], strict=True):
        one = inverters[name]
        values, contrasts = [], []
        for i, j in zip(order[:8], order[8:16], strict=True):
            start, end = one.encode(images[[i, j]])
            a, middle, b = one.invert(np.stack([start, (start + end) / 2, end]))
            half = np.linalg.norm(a - b) / 2
            values.append(1 - np.linalg.norm(middle - (a + b) / 2) / half)
            contrasts.append([x.std((0, 1)).mean() for x in (a, middle, b)])
        assert row["crossfade_score"] == pytest.approx(np.mean(values), abs=1e-4)
        error = np.std(values, ddof=1) / np.sqrt(8)
        assert row["crossfade_score_se"] == pytest.approx(error, abs=1e-4)
        a, middle, b = np.mean(contrasts, 0)
        assert row["contrast"] == pytest.approx(2 * middle / (a + b), abs=1e-4)
        assert (row["inverter"], row["kind"]) == (name, "inversion network")
    layers = [name.split("-")[1] for name in names]
    assert [row["layer"] for row in result.rows] == [x for x in layers for _ in range(2)]
    chart, *strips, animated = result.figures
    assert "cross-fade score halfway" in chart.svg
    assert len(strips) == 3
    for word in ("photographs, cross-faded", *layers, "fc6, norm kept", "0.5"):
        assert f">{word}<" in strips[0].svg
    assert ">conv5, norm kept<" not in strips[0].svg
    with Image.open(io.BytesIO(animated.gif)) as gif:
        assert gif.n_frames == 2 * 5 - 2
        assert gif.width > (len(names) + 1) * 128 and gif.height > 2 * 128


def test_the_seed_draws_the_pairs(photos):
    inverters = {"a": inverter("fc6", nonlinear())}
    first, again, other = (
        EXPERIMENT.measure(inverters, photos[:16], steps=2, pairs=2, seed=seed).rows
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first[0]["pairs"] == 2


def judge(**scores):
    """Claims on cross-fade scores by layer."""
    table = make_table({"inverter": layer, "layer": layer} for layer in scores)
    return claims.interpolate(Measurement(table, {"straight_scores": scores}))


def test_claims_need_more_than_two_standard_errors():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=100)
    noise = 0.1 * rng.normal(size=100)
    low = {"conv5": shared + 0.1 + noise, "fc6": shared}
    (claim,) = judge(**low)
    assert claim.holds  # paired: what the pairs of images have in common cancels
    gain, error = (0.1 + noise).mean(), (0.1 + noise).std(ddof=1) / 10
    assert claim.value == f"conv5 over fc6 by {gain:+.3f} ± {error:.3f}"
    assert not judge(**low, fc8=shared + 0.1)[0].holds  # each has to be below
    assert judge(**low, probabilities=shared + 1)[0].holds  # not part of the finding
    assert judge(fc6=shared) == []
    assert judge(conv5=shared, conv4=shared) == []


@pytest.mark.slow
def test_autoencoders_are_labelled_and_test_no_claim(photos):
    inverters = {"a": inverter("conv5", train_encoder=True), "b": inverter("fc6", nonlinear())}
    result = EXPERIMENT.run(inverters, photos[:8], {"steps": 2})
    assert result.claims == []
    assert "conv5 (autoencoder) 1.000" in result.findings[0]
    assert result.rows[0]["kind"] == "autoencoder"


def test_too_few_pairs_and_steps_are_refused(photos):
    inverters = {"a": inverter("conv5")}
    with pytest.raises(InputError, match="at least two pairs of images. Received: pairs=128 out "):
        EXPERIMENT.run(inverters, photos[:3])
    with pytest.raises(InputError, match="at least two pairs"):
        EXPERIMENT.run(inverters, photos, {"pairs": 1})
    with pytest.raises(InputError, match="at least 2 steps of a path. Received: 1"):
        EXPERIMENT.run(inverters, photos, {"steps": 1})
