"""Layers of two networks: each number by hand, and what has no depth."""

import types

import cv2
import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import stub_inverter
from tfinvert import features, metrics
from tfinvert.analysis.experiments.depth import EXPERIMENT
from tfinvert.analysis.inverters import network_names
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.metrics import lpips
from tfinvert.networks import inversion


def blurring(name, size):
    """An inverter of a layer that blurs images, and predicts a deviation of 0.1."""
    stub = stub_inverter(
        lambda images: np.stack([cv2.blur(image, (size, size)) for image in images]),
        shape=(64, 64, 3),
    )
    stub.feature.name = name
    stub.network = types.SimpleNamespace(count_params=lambda: size)
    stub.uncertainty_head = stub
    stub.uncertainty = lambda features: np.full(features.shape, 0.1, np.float32)
    return stub


def untrained():
    feature = features.get("squeezenet/fire9")
    channels = feature.spec.shape[-1]
    identity = Standardization(np.zeros(channels, "f4"), np.ones(channels, "f4"))
    return Inverter(feature, identity, inversion.build(feature, width=0.1))


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)])
def inverters(request, load_shipped):
    """Two of AlexNet, and one of another network between them."""
    if request.param:
        first, last = load_shipped("alexnet-conv1-64"), load_shipped("alexnet-conv5-64")
        return {"first": first, "fire9": untrained(), "last": last}
    return {
        "first": blurring("alexnet/conv1", 2),
        "fire9": blurring("squeezenet/fire9", 31),
        "last": blurring("alexnet/conv5", 7),
    }


@pytest.fixture(scope="module")
def images(photos):
    return photos[::6]


@pytest.fixture(scope="module")
def result(inverters, images):
    return EXPERIMENT.run(inverters, images)


def test_rows_are_what_the_metrics_say(result, inverters, images):
    scale = metrics.mean_pairwise_distance(images)
    for row, (name, inverter) in zip(result.rows, inverters.items(), strict=True):
        rebuilt = inverter.reconstruct(images)
        assert row["inverter"] == name
        assert row["normalized_error"] == pytest.approx(
            metrics.normalized_error(images, rebuilt, scale), rel=1e-5
        )
        assert row["lpips"] == pytest.approx(lpips.lpips(images, rebuilt), rel=1e-5)
        assert row["entries"] == np.prod(inverter.encode(images[:1]).shape)


def test_each_network_has_its_own_depths(result):
    places = [(row["network"], row["layer"], row["depth"]) for row in result.rows]
    assert places == [("alexnet", "conv1", 1), ("squeezenet", "fire9", 1), ("alexnet", "conv5", 2)]
    errors = [row["normalized_error"] for row in result.rows]
    assert errors[0] < errors[2] < errors[1]
    assert result.findings[0].startswith("alexnet: error / LPIPS")
    pictures = [figure.title for figure in result.figures if figure.title.startswith("Down")]
    assert pictures == ["Down the layers: alexnet", "Down the layers: squeezenet"]


def test_a_feature_that_is_no_layer_is_refused(photos, inverter):
    with pytest.raises(tfinvert.InputError, match="network layers. Received: hog-64, of hog"):
        EXPERIMENT.run({"hog-64": inverter}, photos)


def test_a_layer_given_twice_is_refused(inverters, photos):
    again = {"again": inverters["last"], **inverters}
    with pytest.raises(
        tfinvert.InputError, match="one inverter of each layer.*Received: 2 of alexnet/conv5"
    ):
        EXPERIMENT.run(again, photos)


class Of:
    def __init__(self, name, **config):
        self.feature = types.SimpleNamespace(name=name, get_config=lambda: config)


def test_two_networks_of_one_family_are_told_apart_by_how_they_differ():
    given = {
        "a": Of("hub/output", preset="vit", tokens="grid"),
        "b": Of("hub/stage1", preset="vit", tokens="class"),
        "c": Of("hub/output", preset="dinov2"),
        "d": Of("squeezenet/fire9", weights="shipped"),
    }
    assert network_names(given) == {
        "a": "hub (preset=vit)",
        "b": "hub (preset=vit)",
        "c": "hub (preset=dinov2)",
        "d": "squeezenet",
    }
