"""Single units of shipped inverters, against manual computations, and known correlations."""

import types

import numpy as np
import pytest
import scipy.stats

from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.units import EVERYWHERE, EXPERIMENT, ONE_CELL, UNIT
from tfinvert.analysis.single_units import (
    ClassCorrelations,
    class_averages,
    has_class_units,
    highest_variance_units,
    isolate_units,
    pairwise_correlations,
)
from tfinvert.errors import InputError
from tfinvert.features import get


@pytest.fixture(scope="module")
def inverters(load_shipped):
    return {name: load_shipped(name) for name in ("alexnet-conv5-64", "alexnet-fc8-64")}


@pytest.fixture(scope="module")
def result(inverters, photos):
    return EXPERIMENT.run(inverters, photos[:16], {"num_pictures": 4, "min_photographs": 1})


def test_every_kind_of_activation_has_a_row(result):
    assert [row["activation"] for row in result.rows] == [EVERYWHERE, ONE_CELL, UNIT]
    assert [row["layer"] for row in result.rows] == ["conv5", "conv5", "fc8"]
    assert [figure.title for figure in result.figures] == [
        "Single units",
        "Classes and their units: fc8",
    ]
    assert result.rows[0]["classes"] is None and result.rows[2]["classes"] >= 5
    assert (
        result.findings[0].startswith("fc8: the image of a class's unit")
        and len(result.claims) == 1
    )


def test_distances_equal_a_manual_computation(result, inverters, photos):
    inverter = inverters["alexnet-fc8-64"]
    features = inverter.encode(photos[:16])
    zeros = inverter.invert(np.zeros((1, 200)))[0]
    moved = []
    for unit in range(200):
        feature = np.zeros((1, 200))
        feature[0, unit] = 2 * features[:, unit].max()
        moved.append(np.sqrt(np.square(inverter.invert(feature)[0] - zeros).sum()))
    scale = metrics.mean_pairwise_distance(photos[:16])
    row = result.rows[2]
    assert row["units"] == 200
    assert row["distance_from_zeros"] == pytest.approx(np.mean(moved) / scale, rel=1e-4)
    error = np.std(moved, ddof=1) / np.sqrt(200) / scale
    assert row["distance_from_zeros_se"] == pytest.approx(error, rel=1e-3)


def test_correlations_equal_a_manual_computation(result, inverters, photos):
    inverter, images = inverters["alexnet-fc8-64"], photos[:16]
    features = inverter.encode(images)
    predicted = features.argmax(1)
    classes = np.unique(predicted)
    made = np.zeros((len(classes), 200))
    for one, each in zip(made, classes, strict=True):
        one[each] = 2 * features[:, each].max()
    rebuilt = inverter.invert(made)
    own = [
        np.corrcoef(
            (image - rebuilt.mean(0)).ravel(),
            (images[predicted == each].mean(0) - images.mean(0)).ravel(),
        )[0, 1]
        for image, each in zip(rebuilt, classes, strict=True)
    ]
    row = result.rows[2]
    assert row["classes"] == len(classes)
    assert row["own_correlation"] == pytest.approx(np.mean(own), abs=1e-4)


def test_too_few_photographs_of_a_class_test_no_claim(inverters, photos):
    fc8 = {"alexnet-fc8-64": inverters["alexnet-fc8-64"]}
    result = EXPERIMENT.run(fc8, photos[:16], {"num_pictures": 4, "min_photographs": 10})
    assert result.claims == [] and len(result.figures) == 2
    assert "only 0 classes have at least 10 photographs" in result.findings[0]
    assert result.rows[0]["classes"] == 0
    assert result.rows[0]["own_correlation"] is None


def test_units_of_highest_variance_without_constant_ones():
    features = np.zeros((10, 5))
    features[:, 1] = np.arange(10)
    features[:, 3] = 7
    features[::2, 4] = 1
    np.testing.assert_array_equal(highest_variance_units(features, 9), [1, 4])
    np.testing.assert_array_equal(highest_variance_units(features, 1), [1])
    grids = np.zeros((2, 3, 3, 2))
    grids[:, 1, 1, 1] = 1  # varies over positions only
    np.testing.assert_array_equal(highest_variance_units(grids, 2), [1])


def test_isolated_units_are_at_a_multiple_of_their_largest_value():
    features = np.array([[1.0, -3, 0], [2, -1, 5]])
    made = isolate_units(features, np.array([2, 1]), 2.0)
    np.testing.assert_array_equal(made, [[0, 0, 10], [0, -2, 0]])
    grids = np.zeros((2, 2, 3, 2))
    grids[0, 1, 2, 1] = 4
    everywhere = isolate_units(grids, np.array([1]), 1.0)
    assert (everywhere[0, :, :, 1] == 4).all() and not everywhere[..., 0].any()
    cell = isolate_units(grids, np.array([1]), 0.5, (1, 0))
    assert cell.sum() == cell[0, 1, 0, 1] == 2


def test_class_averages_are_of_classes_with_enough_images():
    images = np.random.default_rng(0).random((6, 2, 2, 3))
    classes, counts, averages = class_averages(images, np.array([7, 2, 7, 2, 2, 9]), 2)
    np.testing.assert_array_equal(classes, [2, 7])
    np.testing.assert_array_equal(counts, [3, 2])
    np.testing.assert_allclose(averages[0], images[[1, 3, 4]].mean(0), rtol=1e-6)
    np.testing.assert_allclose(averages[1], images[[0, 2]].mean(0), rtol=1e-6)
    assert class_averages(images, np.arange(6), 2)[2].shape == (0, 2, 2, 3)


def test_correlations_are_those_of_pearson():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4, 4, 3)), rng.random((2, 4, 4, 3))
    own = pairwise_correlations(a, b)
    assert own.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            expected = scipy.stats.pearsonr(a[i].ravel(), b[j].ravel()).statistic
            assert own[i, j] == pytest.approx(expected)
    assert (pairwise_correlations(np.ones_like(a), b) == 0).all()


def _correlations(matrix):
    blank = np.zeros((len(matrix), 2, 2, 3))
    numbers = np.arange(len(matrix))
    return ClassCorrelations(numbers, numbers + 3, np.array(matrix, float), blank, blank)


def test_own_others_and_percentiles_of_a_known_matrix():
    own = _correlations([[0.5, 0.1, 0.3], [0.4, 0.2, 0.0], [0.1, 0.3, 0.0]])
    np.testing.assert_allclose(own.own, [0.5, 0.2, 0.0])
    np.testing.assert_allclose(own.others, [0.2, 0.2, 0.2])
    np.testing.assert_allclose(own.percentiles, [100, 50, 0])


def judge(**correlations):
    return claims.units(Measurement(make_table([]), {"class_correlations": correlations}))


def test_the_claim_holds_only_if_the_own_class_clearly_stands_out_at_every_layer():
    similar = _correlations(0.6 * np.eye(6) + 0.1 + np.diag(np.linspace(0, 0.1, 6)))
    noisy = _correlations(np.diag([0.9, -0.7, 0.8, -0.6, 0.3, -0.5]))
    (good,) = judge(fc8=similar)
    assert good.holds and "fc8 0.750 with its own class, 0.100 with others" in good.value
    assert "over 6 classes" in good.value
    assert not judge(fc8=noisy)[0].holds
    assert not judge(fc8=similar, probabilities=noisy)[0].holds


def test_fc8_and_probabilities_have_class_units(inverters):
    assert has_class_units(inverters["alexnet-fc8-64"])
    assert not has_class_units(inverters["alexnet-conv5-64"])
    feature = types.SimpleNamespace(
        name="keras/predictions", log_floor=1e-6, spec=types.SimpleNamespace(shape=(10,))
    )
    assert has_class_units(types.SimpleNamespace(feature=feature, card={}))
    trained = {"train_encoder": True}  # its values are no longer class scores
    feature.get_config = dict
    assert not has_class_units(types.SimpleNamespace(feature=feature, card=trained))


def test_features_without_meaningful_units_and_equal_images_are_refused(inverters, photos):
    sift = types.SimpleNamespace(feature=get("sift", image_shape=(64, 64, 3)))
    with pytest.raises(InputError, match="not sift.* Received: sift-64, of sift"):
        EXPERIMENT.run({"sift-64": sift}, photos)
    EXPERIMENT.check("hog-64", types.SimpleNamespace(feature=get("hog", image_shape=(64, 64, 3))))
    fc8 = {"alexnet-fc8-64": inverters["alexnet-fc8-64"]}
    with pytest.raises(InputError, match="no unit of alexnet/fc8 varies over the images; give"):
        EXPERIMENT.run(fc8, np.repeat(photos[:1], 3, 0))
