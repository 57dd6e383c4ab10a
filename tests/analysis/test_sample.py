"""Draws from samplers of the features of shipped inverters, against manual computations."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.sample import EXPERIMENT, present
from tfinvert.analysis.feature_samplers import (
    COPULA,
    DISTANCES,
    INDEPENDENT,
    MIXTURE,
    REAL,
    TRUNCATED,
    GaussianCopula,
    IndependentHistograms,
    PCAFrechetDistance,
    relative_to_real,
)
from tfinvert.analysis.inverters import inverter_labels
from tfinvert.analysis.scores import mean_columns
from tfinvert.errors import InputError
from tfinvert.features import get
from tfinvert.metrics.frechet import frechet_distance

SOURCES = [REAL, INDEPENDENT, TRUNCATED, COPULA, MIXTURE]


@pytest.fixture(
    scope="module",
    params=[
        ("alexnet-fc6-64",),
        pytest.param(("alexnet-fc7-64", "alexnet-fc8-64"), marks=pytest.mark.slow),
    ],
)
def inverters(request, load_shipped):
    return {name: load_shipped(name) for name in request.param}


@pytest.fixture(scope="module")
def result(inverters, photos):
    return EXPERIMENT.run(inverters, photos[:32], {"seed": 1, "repeats": 2})


def _halves(photos):
    order = np.random.default_rng(1).permutation(32)
    return photos[:32][order[::2]], photos[:32][order[1::2]]


def test_every_source_has_a_row_and_every_inverter_a_picture(result, inverters):
    assert [row["source"] for row in result.rows] == SOURCES * len(inverters)
    assert {row["inverter"] for row in result.rows} == set(inverters)
    assert len({tuple(row) for row in result.rows}) == 1
    assert len(result.figures) == 2 + len(inverters)
    labels = [*inverter_labels(inverters).values()]
    assert (
        labels[-1] in result.figures[-1].title and "contrast times 2" in result.figures[-1].caption
    )
    assert len(result.findings) == len(inverters) and result.findings[0].startswith(labels[0])
    assert "16 photographs" in result.lead and "4 leading principal components" in result.lead


def test_distances_equal_a_manual_computation(result, inverters, photos):
    inverter = next(iter(inverters.values()))
    training, held_out = (inverter.encode(half) for half in _halves(photos))
    pca = PCA(4).fit(held_out)

    def distance(features):
        return frechet_distance(pca.transform(features), pca.transform(held_out))

    real = result.rows[0]
    assert real["frechet_distance"] == pytest.approx(distance(training), rel=1e-3)
    assert real["frechet_distance_se"] is None
    models = {0: IndependentHistograms(training), 2: GaussianCopula(training, seed=1)}
    for i, model in models.items():
        rng = np.random.default_rng([1, i])
        drawn = [model.draw(16, rng) for _ in range(2)]
        values = np.array([distance(features) for features in drawn])
        row = result.rows[1 + i]
        assert row["frechet_distance"] == pytest.approx(values.mean(), rel=1e-3)
        assert row["frechet_distance_se"] == pytest.approx(abs(values[0] - values[1]) / 2, rel=1e-2)
        assert row["active_units"] == pytest.approx(np.mean([(d != 0).mean() for d in drawn]))
        images = np.concatenate([inverter.invert(features) for features in drawn])
        assert row["image_contrast"] == pytest.approx(images.std((1, 2)).mean(), rel=1e-4)


def test_image_distances_are_those_of_their_features(result, inverters, photos):
    name, inverter = [*inverters.items()][-1]
    training, held_out = (inverter.encode(inverter.reconstruct(half)) for half in _halves(photos))
    row = result.rows[-5]
    expected = PCAFrechetDistance(held_out).distance(training)
    assert row["image_frechet_distance"] == pytest.approx(expected, rel=1e-3)
    assert (row["active_units"] == 1.0) == (name == "alexnet-fc8-64")


def test_sparsity_is_matched(result):
    real, *drawn = result.rows[:5]
    for row in drawn:
        assert row["active_units"] == pytest.approx(real["active_units"], abs=0.05)


def test_the_claim_is_on_all_layers(result, inverters):
    (claim,) = result.claims
    assert all(label in claim.value for label in inverter_labels(inverters).values())


def _outcome(alone, copula, mixture):
    """Distances of each draw by source, both of features and of images."""
    return {REAL: (2,), INDEPENDENT: alone, TRUNCATED: alone, COPULA: copula, MIXTURE: mixture}


def _measurement(**outcomes):
    rows = [
        {"label": label, "source": source, "image_contrast": 0.1}
        | mean_columns(DISTANCES[0], np.array(distances, float))
        | mean_columns(DISTANCES[1], np.array(distances, float))
        for label, drawn in outcomes.items()
        for source, distances in drawn.items()
    ]
    facts = {"training_images": 16, "held_out_images": 16, "dimensions": [4], "repeats": 2}
    arrays = {"relative": relative_to_real(pd.DataFrame(rows)), "pictures": {}}
    return Measurement(make_table(rows), arrays, facts)


def judge(**outcomes):
    return claims.sample(_measurement(**outcomes))


def test_the_claim_holds_only_if_a_joint_model_is_clearly_nearer_at_every_layer():
    nearer = _outcome((20, 22), (30, 32), (10, 10))
    noisy = _outcome((20, 22), (10, 30), (30, 50))
    farther = _outcome((20, 20), (21, 21), (22, 22))
    (good,) = judge(fc6=nearer)
    assert good.holds and "fc6 5.00 ± 0.00 against 10.50 ± 0.50" in good.value
    assert not judge(fc6=noisy)[0].holds
    assert not judge(fc6=farther)[0].holds
    assert not judge(fc6=nearer, fc7=farther)[0].holds


def test_a_chart_shows_at_most_twelve(result):
    outcome = _outcome((20, 22), (30, 32), (10, 10))
    shown = present(_measurement(**{f"layer {i}": outcome for i in range(20)}))
    assert "layer 11" in shown.figures[0].svg and "layer 12" not in shown.figures[0].svg


def test_too_few_images_are_refused(inverters, photos):
    with pytest.raises(InputError, match="at least 12 images, for a histogram.* Received: 11"):
        EXPERIMENT.run(inverters, photos[:11])


@dataclasses.dataclass
class _Large:
    name = "alexnet/conv1"
    log_floor = 0.0
    spec = types.SimpleNamespace(shape=(27, 27, 96))


def test_features_that_cannot_be_drawn_value_by_value_are_refused(photos):
    given = types.SimpleNamespace
    with pytest.raises(InputError, match="not sift.* Received: sift-64, of sift"):
        EXPERIMENT.check("sift-64", given(feature=get("sift", image_shape=(64, 64, 3))))
    with pytest.raises(InputError, match="10,000 values.* mine, of alexnet/conv1 with 69,984"):
        EXPERIMENT.check("mine", given(feature=_Large()))
    large = _Large()
    large.log_floor = 1e-6
    with pytest.raises(InputError, match="add up to 1"):
        EXPERIMENT.run({"probabilities": given(feature=large)}, photos)
    EXPERIMENT.check("hog-64", given(feature=get("hog", image_shape=(64, 64, 3))))
