"""Photographs down the layers of a network: rows, scores, findings and pictures."""

import xml.etree.ElementTree as ElementTree

import keras
import numpy as np
import pytest

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert import metrics
from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Measurement, make_table
from tfinvert.analysis.experiments.layers import EXPERIMENT, MEAN
from tfinvert.analysis.inversion_methods import GRADIENT
from tfinvert.analysis.inverters import NETWORK
from tfinvert.analysis.scores import brightness_error, coarse_r2, color_error, image_scores
from tfinvert.common.images import resize_images
from tfinvert.features.standardization import Standardization
from tfinvert.features.taps import Tap
from tfinvert.networks.layers import Preprocess
from tfinvert.reporting.image_rows import image_rows

UNTOUCHED = Standardization(np.zeros(3, "f4"), np.ones(3, "f4"))


def inverter(layer, cell, grow=None, config=None, **card):
    """An inverter that is exact about what it loses: means of cells, and cells of one colour.

    The feature is that of the image at 48 pixels, and a reconstruction has 48 / cell · grow.
    """
    images = keras.Input((64, 64, 3))
    seen = Preprocess((48, 48), "unit")(images)
    cells = keras.layers.AveragePooling2D(cell, name="cells")(seen)
    features = keras.Input(cells.shape[1:])
    network = keras.Model(features, keras.layers.UpSampling2D(grow or cell)(features))
    tap = Tap(f"alexnet/{layer}", keras.Model(images, cells), config or {})
    return tfinvert.Inverter(tap, UNTOUCHED, network, card)


def cells(images, cell):
    """What such an inverter makes of images, in NumPy."""
    small = resize_images(images, (48, 48))
    side = 48 // cell
    means = small.reshape(len(small), side, cell, side, cell, 3).mean((2, 4))
    return means.repeat(cell, 1).repeat(cell, 2)


@pytest.fixture(scope="module")
def images(photos):
    return photos[::4][:9]


@pytest.fixture(scope="module")
def inverters():
    return {
        "first": inverter("conv1", 2, steps=7, training_minutes=1.5),
        "second": inverter("conv4", 4, grow=2),
        "second-trained": inverter("conv4", 2, train_encoder=True, steps=9),
        "third": inverter("fc6", 12),
        "third-trained": inverter("fc6", 6, train_encoder=True),
        "third-scratch": inverter("fc6", 8, train_encoder=True, config={"weights": "random"}),
    }


@pytest.fixture(scope="module")
def result(inverters, images):
    return EXPERIMENT.run(inverters, images, {"gradient_images": 4, "gradient_steps": 3})


def test_a_row_for_each_inverter_and_method_in_the_layers_order(result):
    assert [(row["layer"], row["method"], row["inverter"]) for row in result.rows] == [
        ("conv1", NETWORK, "first"),
        ("conv1", GRADIENT, "first"),
        ("conv4", NETWORK, "second"),
        ("conv4", GRADIENT, "second"),
        ("conv4", "autoencoder", "second-trained"),
        ("fc6", NETWORK, "third"),
        ("fc6", GRADIENT, "third"),
        ("fc6", "autoencoder", "third-trained"),
        ("fc6", "autoencoder from scratch", "third-scratch"),
        ("none", MEAN, ""),
    ]
    assert len({tuple(row) for row in result.rows}) == 1  # the same columns
    made = {row["inverter"]: (row["steps"], row["minutes"]) for row in result.rows[:4:2]}
    assert made == {"first": (7, 1.5), "second": (None, None)}
    gradient = [row for row in result.rows if row["method"] == GRADIENT]
    assert {(row["images"], row["steps"]) for row in gradient} == {(4, 3)}
    assert all(0 < row["minutes"] < 1 for row in gradient)
    assert {row["images"] for row in result.rows if row not in gradient} == {9}


@pytest.mark.parametrize(
    ("name", "cell", "shrink"), [("first", 2, 1), ("second", 4, 2), ("third-trained", 6, 1)]
)
def test_scores_are_taken_at_the_images_size(result, images, name, cell, shrink):
    rebuilt = cells(images, cell)[:, ::shrink, ::shrink]
    assert rebuilt.shape[1] == 48 // shrink
    rebuilt = resize_images(rebuilt, (64, 64))
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(images) for b in images[:i]]
    error = np.mean([np.linalg.norm(a - b) for a, b in zip(images, rebuilt, strict=True)])
    (row,) = [x for x in result.rows if x["inverter"] == name and x["method"] != GRADIENT]
    assert row["normalized_error"] == pytest.approx(error / np.mean(pairs), rel=1e-4)
    squares = np.square(images - rebuilt).mean((1, 2, 3))
    assert row["psnr"] == pytest.approx(np.mean(-10 * np.log10(squares)), rel=1e-4)
    assert row["ssim"] == pytest.approx(metrics.ssim(images, rebuilt), rel=1e-4)
    assert f"N = {np.mean(pairs):.2f}" in result.lead


def test_the_mean_image_is_the_last_row(result, images):
    mean = np.broadcast_to(images.mean(0), images.shape)
    expected = image_scores(images, mean, metrics.mean_pairwise_distance(images))
    assert {key: result.rows[-1][key] for key in expected} == pytest.approx(expected)


def test_gradient_based_inversion_has_no_network(result, inverters, images):
    found = [row["normalized_error"] for row in result.rows if row["method"] == GRADIENT]
    assert all(np.isfinite(found)) and len({*found}) == 3
    other = EXPERIMENT.measure(
        {"first": inverters["first"]}, images, gradient_images=4, gradient_steps=9
    )
    assert other.rows[1]["normalized_error"] != found[0]


def test_findings_of_errors_that_rise(result):
    errors = {(row["layer"], row["method"]): row["normalized_error"] for row in result.rows}
    ours = [errors[layer, NETWORK] for layer in ("conv1", "conv4", "fc6")]
    assert ours == sorted(ours)
    first, gradient, auto, scratch = result.findings
    assert first == (
        f"The error goes from {ours[0]:.3f} at conv1 to {ours[2]:.3f} at fc6, and rises at every "
        "layer."
    )
    gaps = [errors[layer, "autoencoder"] - ours[i] for i, layer in ((1, "conv4"), (2, "fc6"))]
    assert auto == (
        "The inversion network is better than the autoencoder at 0 of 2 layers; on average the "
        f"latter's error is {-np.mean(gaps):.3f} lower."
    )
    assert "than the autoencoder from scratch at 0 of 1 layers" in scratch
    assert "than the gradient-based inversion at 3 of 3 layers" in gradient
    assert gradient.endswith(" higher.")


def test_findings_of_errors_that_fall(images):
    sizes = {"conv1": 12, "conv2": 4, "conv3": 8, "fc6": 2}
    falling = {
        layer: stub_inverter(lambda images, cell=cell: cells(images, cell), layer)
        for layer, cell in sizes.items()
    }
    result = EXPERIMENT.run(falling, images, {"gradient_images": 0})
    assert len(result.findings) == 1
    assert "at conv1 to " in result.findings[0]
    assert result.findings[0].endswith(" at fc6; it falls at conv2, fc6.")


def test_pictures_of_each_method_down_the_layers(result, inverters, images):
    chart, network, gradient, auto, scratch = result.figures
    assert [figure.title.rpartition(": ")[2] for figure in result.figures[1:]] == [
        NETWORK,
        GRADIENT,
        "autoencoder",
        "autoencoder from scratch",
    ]
    shown = [0, 2, 5, 8]  # those that gradient-based inversion had, too
    rows = {
        layer: resize_images(inverters[name].reconstruct(images[shown]), (64, 64))
        for layer, name in (("conv1", "first"), ("conv4", "second"), ("fc6", "third"))
    }
    expected = image_rows(
        {"original": images[shown], **rows}, title=network.title, caption=network.caption
    )
    np.testing.assert_array_equal(network.image, expected.image)
    assert gradient.image.shape == network.image.shape
    assert not np.array_equal(gradient.image, network.image)
    assert auto.image.shape[0] < network.image.shape[0]
    assert scratch.image.shape[0] < auto.image.shape[0]
    assert {"conv1", "conv4", "fc6", NETWORK, GRADIENT, MEAN} <= {*texts(chart.svg)}


def test_without_gradient_based_inversion(inverters, images):
    result = EXPERIMENT.run({"only": inverters["third"]}, images, {"gradient_images": 0})
    assert [row["method"] for row in result.rows] == [NETWORK, MEAN]
    assert len(result.figures) == 2
    assert result.findings == []
    assert result.figures[1].svg.count("<image") == 2 * 6


def test_features_without_a_derivative_have_no_gradient_based_inversion(images):
    lbp = stub_inverter(echo, "lbp")  # without a derivative
    measurement = EXPERIMENT.measure({"lbp": lbp}, images, gradient_images=4, gradient_steps=1)
    assert [(row["layer"], row["method"]) for row in measurement.rows] == [
        ("lbp", NETWORK),
        ("none", MEAN),
    ]


def test_scores_of_brightness_and_colour_are_those_of_bt601(images):
    others = images[::-1]
    from_rgb = np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    )
    difference = (images - others) @ from_rgb.T / 255
    assert brightness_error(images, others) == pytest.approx(
        np.sqrt(np.square(difference[..., 0]).mean()), rel=1e-4
    )
    assert color_error(images, others) == pytest.approx(
        np.sqrt(np.square(difference[..., 1:]).mean()), rel=1e-4
    )
    assert image_scores(images, images, 1.0)["normalized_error"] == 0


def texts(svg):
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if "text" in e.tag]


def test_two_inverters_of_one_layer(inverters, images):
    twice = {"first": inverters["first"], "again": inverters["first"]}
    with pytest.raises(
        tfinvert.InputError, match="Received: first and again, both the inversion network of conv1"
    ):
        EXPERIMENT.run(twice, images, {"gradient_images": 0})


def test_rough_colours_in_rough_places(images):
    mean = resize_images(images, (4, 4)).mean(0)
    assert coarse_r2(images, images, mean) == 1
    assert coarse_r2(images, np.broadcast_to(images.mean(0), images.shape), mean) == pytest.approx(
        0, abs=1e-6
    )
    blurred = resize_images(resize_images(images, (8, 8)), (64, 64))
    assert coarse_r2(images, blurred, mean) > 0.9
    assert coarse_r2(images, images[::-1], mean) < 0


def row(layer, method, error, coarse=0.3):
    return {
        "layer": layer,
        "method": method,
        "inverter": layer,
        "normalized_error": error,
        "coarse_r2": coarse,
    }


def judge(rows, compared=()):
    return claims.layers(Measurement(make_table(rows), {}, {"network_errors": dict(compared)}))


def verdicts(rows, compared=()):
    return [claim.holds for claim in judge(rows, compared)]


def test_claims_both_ways():
    own = [row("conv1", NETWORK, 0.2), row("fc6", NETWORK, 0.5), row("fc8", NETWORK, 0.6)]
    gradient = [row("conv1", GRADIENT, 0.5)]
    auto = [row("conv1", "autoencoder", 0.3), row("fc6", "autoencoder", 0.39)]
    assert verdicts(own) == [True, True]
    assert verdicts(own + gradient + auto, {"conv1": 0.4}) == [True] * 4
    assert verdicts(own + gradient, {"conv1": 0.51}) == [True, True, False]
    assert verdicts(own + [row("fc6", "autoencoder", 0.41)]) == [True, True, False]
    assert verdicts(own[::-1]) == [False, True]
    assert verdicts([row("fc8", NETWORK, 0.6, 0.2)]) == [False]
    assert verdicts(auto) == verdicts(own[:1]) == []
    assert judge(own)[1].value == "fc8 30%"
