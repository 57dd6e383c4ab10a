"""Draws from models of the shipped inverters' features, recomputed by hand; the claim both ways."""

import dataclasses
import types

import numpy as np
import pytest
from sklearn.decomposition import PCA

import tfinvert
from tfinvert.analysis import claims
from tfinvert.analysis import sample as module
from tfinvert.analysis.feature_samplers import (
    COPULA,
    INDEPENDENT,
    MIXTURE,
    OF_FEATURES,
    OF_IMAGES,
    REAL,
    SOURCE,
    TRUNCATED,
    GaussianCopula,
    IndependentHistograms,
    PCAFrechetDistance,
    relative_to_real,
)
from tfinvert.analysis.inverters import inverter_labels
from tfinvert.analysis.result import mean_columns, standard_error
from tfinvert.analysis.sample import check, sample
from tfinvert.errors import InputError
from tfinvert.features import get
from tfinvert.metrics.frechet import frechet_distance

SOURCES = [REAL, INDEPENDENT, TRUNCATED, COPULA, MIXTURE]


@pytest.fixture(scope="module")
def inverters():
    return {name: tfinvert.load(name) for name in ("alexnet-fc7-64", "alexnet-fc8-64")}


@pytest.fixture(scope="module")
def result(inverters, photos):
    return sample(inverters, photos[:32], seed=1, repeats=2)


def _halves(photos):
    order = np.random.default_rng(1).permutation(32)
    return photos[:32][order[::2]], photos[:32][order[1::2]]


def test_there_is_a_row_for_every_source_and_a_picture_for_every_inverter(result, inverters):
    assert [row["features"] for row in result.rows] == SOURCES * 2
    assert {row["inverter"] for row in result.rows} == set(inverters)
    assert len({tuple(row) for row in result.rows}) == 1
    assert len(result.figures) == 2 + len(inverters)
    assert "fc8" in result.figures[-1].title and "contrast times 2" in result.figures[-1].caption
    assert len(result.findings) == 2 and result.findings[0].startswith("fc7")
    assert "16 photographs" in result.lead and "4 leading principal components" in result.lead


def test_distances_are_those_computed_by_hand(result, inverters, photos):
    inverter = inverters["alexnet-fc7-64"]
    learned, held = (inverter.encode(half) for half in _halves(photos))
    pca = PCA(4).fit(held)

    def distance(features):
        return frechet_distance(pca.transform(features), pca.transform(held))

    real = result.rows[0]
    assert real["Fréchet distance"] == pytest.approx(distance(learned), rel=1e-3)
    assert real["standard error"] is None
    models = {0: IndependentHistograms(learned), 2: GaussianCopula(learned, seed=1)}
    for i, model in models.items():
        rng = np.random.default_rng([1, i])
        drawn = [model.draw(16, rng) for _ in range(2)]
        values = np.array([distance(features) for features in drawn])
        row = result.rows[1 + i]
        assert row["Fréchet distance"] == pytest.approx(values.mean(), rel=1e-3)
        assert row["standard error"] == pytest.approx(abs(values[0] - values[1]) / 2, rel=1e-2)
        assert row["active units"] == pytest.approx(np.mean([(d != 0).mean() for d in drawn]))
        images = np.concatenate([inverter.invert(features) for features in drawn])
        assert row["contrast of the images"] == pytest.approx(images.std((1, 2)).mean(), rel=1e-4)


def test_images_are_compared_by_their_own_features(result, inverters, photos):
    inverter = inverters["alexnet-fc8-64"]
    learned, held = (inverter.encode(inverter.reconstruct(half)) for half in _halves(photos))
    row = result.rows[5]
    expected = PCAFrechetDistance(held).distance(learned)
    assert row["Fréchet distance of the images"] == pytest.approx(expected, rel=1e-3)
    assert row["active units"] == 1.0


def test_sparsity_is_matched(result):
    real, *drawn = result.rows[:5]
    for row in drawn:
        assert row["active units"] == pytest.approx(real["active units"], abs=0.05)


def test_the_claim_is_about_all_layers(result, inverters):
    (own,) = result.claims
    assert all(label in own.value for label in inverter_labels(inverters).values())


def test_a_quarter_as_many_components_as_images_are_compared():
    features = np.random.default_rng(0).standard_normal((40, 3, 4, 5))
    space = PCAFrechetDistance(features)
    assert space.dimensions == 10
    assert space.distance(features) == pytest.approx(0, abs=1e-9)
    # Moved along the first component by one unit: the distance is 1.
    first = PCA(1).fit(features.reshape(40, -1)).components_[0]
    assert space.distance(features + first.reshape(3, 4, 5)) == pytest.approx(1, rel=1e-5)


def test_the_standard_error_is_that_of_a_mean():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert standard_error(np.array([5.0])) == 0


def _outcome(alone, copula, mixture):
    """By source, a distance for each draw, of the features and of the images."""
    return {REAL: (2,), INDEPENDENT: alone, TRUNCATED: alone, COPULA: copula, MIXTURE: mixture}


def _table(**outcomes):
    return relative_to_real(
        [
            {"label": label, SOURCE: source}
            | mean_columns(OF_FEATURES, np.array(distances, float))
            | mean_columns(OF_IMAGES, np.array(distances, float))
            for label, drawn in outcomes.items()
            for source, distances in drawn.items()
        ]
    )


def judged(**outcomes):
    return claims.sample(_table(**outcomes))


def test_the_claim_holds_only_where_a_joint_model_is_clearly_nearer_at_every_layer():
    nearer = _outcome((20, 22), (30, 32), (10, 10))
    noisy = _outcome((20, 22), (10, 30), (30, 50))
    farther = _outcome((20, 20), (21, 21), (22, 22))
    (good,) = judged(fc6=nearer)
    assert good.holds and "fc6 5.00 ± 0.00 against 10.50 ± 0.50" in good.value
    assert not judged(fc6=noisy)[0].holds
    assert not judged(fc6=farther)[0].holds
    assert not judged(fc6=nearer, fc7=farther)[0].holds


def test_a_chart_shows_at_most_twelve(result):
    outcome = _outcome((20, 22), (30, 32), (10, 10))
    figures = module._charts(_table(**{f"layer {i}": outcome for i in range(20)}))
    assert "layer 11" in figures[0].svg and "layer 12" not in figures[0].svg


def test_too_few_images_are_refused(inverters, photos):
    with pytest.raises(InputError, match="too few images for a histogram.* at least 12.* 11"):
        sample(inverters, photos[:11])


@dataclasses.dataclass
class _Large:
    name = "alexnet/conv1"
    log_floor = 0.0
    spec = types.SimpleNamespace(shape=(27, 27, 96))


def test_features_that_cannot_be_drawn_value_by_value_are_refused(photos):
    given = types.SimpleNamespace
    with pytest.raises(InputError, match="not sift.* Received: sift-64, of sift"):
        check("sift-64", given(feature=get("sift", image_shape=(64, 64, 3))))
    with pytest.raises(InputError, match="10,000 values.* mine, of alexnet/conv1 with 69,984"):
        check("mine", given(feature=_Large()))
    large = _Large()
    large.log_floor = 1e-6
    with pytest.raises(InputError, match="add up to 1"):
        sample({"probabilities": given(feature=large)}, photos)
    check("hog-64", given(feature=get("hog", image_shape=(64, 64, 3))))
