"""Reconstructions of shipped inverters from compressed features."""

import numpy as np
import pytest

import tfinvert
from tfinvert import metrics
from tfinvert.analysis.compression import UNCOMPRESSED
from tfinvert.analysis.experiments.privacy import EXPERIMENT, MEAN_IMAGE
from tfinvert.metrics import lpips


@pytest.fixture(
    scope="module",
    params=[
        ("hog-64",),
        pytest.param(("hog-64", "sift-64", "alexnet-fc7-64"), marks=pytest.mark.slow),
    ],
)
def inverters(request, load_shipped):
    return {name: load_shipped(name) for name in request.param}


@pytest.fixture(scope="module")
def result(inverters, photos):
    return EXPERIMENT.run(inverters, photos)


def test_more_bytes_give_better_reconstructions(result, inverters):
    rows = {(row["inverter"], row["compression"]): row for row in result.rows}
    for name in inverters:
        full, none = rows[name, UNCOMPRESSED], rows[name, MEAN_IMAGE]
        assert full["normalized_error"] < none["normalized_error"]
        assert full["bytes_per_image"] > none["bytes_per_image"] == 0
        assert 0 <= none["same_class"] <= full["same_class"] <= 1
    assert rows["hog-64", UNCOMPRESSED]["lpips"] < rows["hog-64", MEAN_IMAGE]["lpips"] - 0.1
    errors = [rows["hog-64", each]["normalized_error"] for each in ("8 bits", "4 bits", "1 bit")]
    assert errors[0] == pytest.approx(rows["hog-64", UNCOMPRESSED]["normalized_error"], abs=0.003)
    assert errors == sorted(errors)
    assert len(result.figures) == 2 + len(inverters)


def test_a_row_equals_the_metrics_and_the_classifier(result, inverters, photos):
    compressed, inverter = photos[::2], inverters["hog-64"]
    rebuilt = inverter.reconstruct(compressed)
    row = next(row for row in result.rows if row["inverter"] == "hog-64")
    assert row["normalized_error"] == pytest.approx(
        metrics.normalized_error(compressed, rebuilt, metrics.mean_pairwise_distance(compressed)),
        rel=1e-4,
    )
    assert row["lpips"] == pytest.approx(lpips.lpips(compressed, rebuilt), rel=1e-4)
    classifier = tfinvert.features.get("squeezenet/logits")
    classes = [np.argmax(classifier(each), 1) for each in (compressed, rebuilt)]
    assert row["same_class"] == pytest.approx(np.mean(classes[0] == classes[1]))


def test_too_few_images_are_refused(inverter, photos):
    with pytest.raises(tfinvert.InputError, match="at least 8 images. Received: 7"):
        EXPERIMENT.run({"hog-64": inverter}, photos[:7])
