"""Shipped inverters compared with baselines, on photographs seen by neither."""

import keras
import numpy as np
import pytest

import tfinvert
from tfinvert import metrics
from tfinvert.analysis.experiments.baselines import EXPERIMENT, INVERSION_NETWORK
from tfinvert.data.open_source import open_source
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap
from tfinvert.metrics.evaluation import read_images

ERRORS = ("normalized_error", "brightness_error", "color_error")


FITTED = ["mean_image", "cell_ridge", "nearest_neighbor", "paired_dictionary"]


def cell_means():
    """An inverter of means of 4×4 cells at 16×16 pixels, exact up to their upsampling."""
    images = keras.Input((16, 16, 3))
    cells = keras.layers.AveragePooling2D(4)(images)
    features = keras.Input(cells.shape[1:])
    network = keras.Model(features, keras.layers.UpSampling2D(4)(features))
    identity = Standardization(np.zeros(3, "f4"), np.ones(3, "f4"))
    return tfinvert.Inverter(Tap("means", keras.Model(images, cells), {}), identity, network)


def test_a_feature_of_means(photos):
    images, training = photos[:6, 20:36, 20:36], photos[6:16, 20:36, 20:36]
    settings = {"training": training, "gradient_images": 2}
    result = EXPERIMENT.run({"means": cell_means()}, images, settings)
    rows = {row["method"]: row for row in result.rows}
    assert list(rows) == [*FITTED, "gradient_inversion", INVERSION_NETWORK]
    scale = metrics.mean_pairwise_distance(images)
    rebuilt = images.reshape(6, 4, 4, 4, 4, 3).mean((2, 4)).repeat(4, 1).repeat(4, 2)
    error = metrics.normalized_error(images, rebuilt, scale)
    assert rows[INVERSION_NETWORK]["normalized_error"] == pytest.approx(error, rel=1e-4)
    mean = np.broadcast_to(training.mean(0), images.shape)
    error = metrics.normalized_error(images, mean, scale)
    assert rows["mean_image"]["normalized_error"] == pytest.approx(error, rel=1e-4)
    assert rows["mean_image"]["images"] == 6 and rows["gradient_inversion"]["images"] < 6
    best = min(rows[method]["normalized_error"] for method in [*FITTED, "gradient_inversion"])
    assert f"of {best:.3f}. Gradient-based inversion takes " in result.findings[0]
    assert len(result.figures) == 1


@pytest.fixture(scope="module")
def result(photos):
    training = read_images(open_source("photos", "training"), (64, 64))
    unseen = read_images(open_source("photos", "validation"), (64, 64))
    inverters = {name: tfinvert.load(name) for name in ("hog-64", "lbp-64", "sift-64")}
    return EXPERIMENT.run(inverters, unseen, {"training": training, "gradient_images": 2})


@pytest.mark.slow
def test_every_suitable_method_is_scored(result):
    methods = {}
    for row in result.rows:
        methods.setdefault(row["inverter"], []).append(row["method"])
    assert methods == {
        "hog-64": [*FITTED, "gradient_inversion", INVERSION_NETWORK],
        "lbp-64": [*FITTED, INVERSION_NETWORK],  # whose derivative is zero
        "sift-64": [*FITTED, INVERSION_NETWORK],  # which has none
    }
    assert len(result.figures) == 3


# Grey features contain no colour, and the two photographs are orange: the inferred colour is
# compared with the mean image alone, and sift-64 is no better. On T64 the networks are better than
# all baselines (docs/results.md).
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "measure"),
    [
        (name, measure)
        for name in ("hog-64", "lbp-64", "sift-64")
        for measure in ERRORS
        if (name, measure) != ("sift-64", "color_error")
    ],
)
def test_inversion_networks_beat_the_baselines(result, name, measure):
    # Features of the grey image do not contain its brightness.
    scores = {row["method"]: row[measure] for row in result.rows if row["inverter"] == name}
    ours = scores.pop(INVERSION_NETWORK)
    others = scores.values() if measure != "color_error" else [scores["mean_image"]]
    assert ours < min(others), scores


@pytest.mark.slow
def test_gradient_inversion_takes_far_longer(result):
    seconds = {row["method"]: row["seconds_per_image"] for row in result.rows[:6]}
    # On a busy machine; otherwise it is hundreds of times.
    assert seconds["gradient_inversion"] > 10 * seconds[INVERSION_NETWORK]


def test_without_gradient_images_there_is_no_gradient_inversion(photos):
    images, training = photos[:4, 20:36, 20:36], photos[4:12, 20:36, 20:36]
    settings = {"training": training, "gradient_images": 0}
    found = EXPERIMENT.run({"means": cell_means()}, images, settings)
    assert "gradient_inversion" not in {row["method"] for row in found.rows}
    assert len(found.figures) == 1
