"""Shipped inverters compared with baselines, on photographs seen by neither."""

import pytest

import tfinvert
from tfinvert.analysis.experiments.baselines import EXPERIMENT, INVERSION_NETWORK
from tfinvert.data.open_source import open_source
from tfinvert.metrics.evaluation import read_images

ERRORS = ("normalized_error", "brightness_error", "color_error")


@pytest.fixture(scope="module")
def result(photos):
    training = read_images(open_source("photos", "training"), (64, 64))
    unseen = read_images(open_source("photos", "validation"), (64, 64))
    inverters = {name: tfinvert.load(name) for name in ("hog-64", "lbp-64", "sift-64")}
    return EXPERIMENT.run(inverters, unseen, {"training": training, "gradient_images": 2})


def test_every_suitable_method_is_scored(result):
    methods = {}
    for row in result.rows:
        methods.setdefault(row["inverter"], []).append(row["method"])
    fitted = ["mean_image", "cell_ridge", "nearest_neighbor", "paired_dictionary"]
    assert methods == {
        "hog-64": [*fitted, "gradient_inversion", INVERSION_NETWORK],
        "lbp-64": [*fitted, INVERSION_NETWORK],  # whose derivative is zero
        "sift-64": [*fitted, INVERSION_NETWORK],  # which has none
    }
    assert len(result.figures) == 3


# Grey features contain no colour, and the two photographs are orange: the inferred colour is
# compared with the mean image alone, and sift-64 is no better. On T64 the networks are better than
# all baselines (docs/results.md).
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


def test_gradient_inversion_takes_far_longer(result):
    seconds = {row["method"]: row["seconds_per_image"] for row in result.rows[:6]}
    # On a busy machine; otherwise it is hundreds of times.
    assert seconds["gradient_inversion"] > 10 * seconds[INVERSION_NETWORK]


def test_without_gradient_images_there_is_no_gradient_inversion(photos):
    hog = {"hog-64": tfinvert.load("hog-64")}
    settings = {"training": photos[4:12], "gradient_images": 0}
    found = EXPERIMENT.run(hog, photos[:4], settings)
    assert "gradient_inversion" not in {row["method"] for row in found.rows}
    assert len(found.figures) == 1
