"""Loops with closed forms, and one shipped inverter's."""

import dataclasses

import numpy as np
import pytest

from tests.analysis.stubs import stub_inverter
from tfinvert import InputError, metrics
from tfinvert.analysis.experiments.iterate import EXPERIMENT, count_end_points
from tfinvert.common.images import resize_images


def cells(images, grow=16):
    """Means of 16×16 pixels, as cells of `grow` pixels."""
    means = images.reshape(len(images), 4, 16, 4, 16, 3).mean((2, 4))
    return means.repeat(grow, 1).repeat(grow, 2)


def inverter(layer, scale=1.0, offset=0.0, grow=16, **card):
    """Rebuilds `scale` · cells + `offset`."""
    return stub_inverter(lambda x: scale * cells(x, grow) + np.float32(offset), layer, **card)


def column(result, name):
    return [row[name] for row in result.rows]


def test_end_points_are_joined_by_chains():
    line = np.float32([0, 1, 2, 3, 10, 10.5, 20]).reshape(-1, 1, 1)
    assert count_end_points(line, 1.0) == 3
    assert count_end_points(line, 0.9) == 6
    assert count_end_points(line, 100.0) == 1
    assert count_end_points(np.zeros((5, 2, 2, 3), "f4"), 1e-3) == 1


def test_a_projection_stands_still_at_once(photos):
    inverters = {"means": inverter("conv5"), "constant": inverter("fc6", 0.0, 0.5)}
    result = EXPERIMENT.run(inverters, photos[:16], {"times": 3})
    constant, result = result.rows[4:], dataclasses.replace(result, rows=result.rows[:4])
    scale = metrics.mean_pairwise_distance(photos[:16])
    error = metrics.normalized_error(photos[:16], cells(photos[:16]))
    assert column(result, "iteration") == [0, 1, 2, 3]
    assert column(result, "step")[0] is None
    assert column(result, "step")[1:] == pytest.approx([error, 0, 0], abs=1e-4)
    assert column(result, "distance") == pytest.approx([0, *[error] * 3])
    kept = metrics.mean_pairwise_distance(cells(photos[:16])) / scale
    assert column(result, "diversity") == pytest.approx([1, *[kept] * 3], rel=1e-4)
    assert column(result, "fixed_fraction") == [None, None, None, 1.0]
    assert column(result, "end_points")[-1] == 16
    assert "conv5 0.0" in result.findings[1] and "conv5 100%" in result.findings[1]
    assert result.claims == []
    # One image for all is one end point.
    assert [row["end_points"] for row in constant] == [None, None, None, 1]
    diversity = [row["diversity"] for row in constant[1:]]
    assert diversity == pytest.approx([0, 0, 0], abs=1e-6)
    assert "End points of 16 photographs after 3 iterations" in result.findings[0]
    assert "fc6 1." in result.findings[0]
    *charts, iterations, ends = result.figures
    assert len(charts) == 3
    assert ">photograph<" in iterations.svg and ">iteration 2<" in iterations.svg
    assert ">fc6<" in ends.svg


def test_a_loop_that_fades_goes_down_geometrically(photos):
    images = photos[:16]
    result = EXPERIMENT.measure({"a": inverter("fc6", 0.5)}, images, times=8)
    scale = metrics.mean_pairwise_distance(images)
    length = np.sqrt(np.square(cells(images)).sum((1, 2, 3))).mean() / scale
    # x_k = means / 2^k, so that a step has the length of what is left.
    expected = [length / 2**k for k in range(2, 9)]
    np.testing.assert_allclose(column(result, "step")[2:], expected, rtol=1e-4)
    kept = metrics.mean_pairwise_distance(cells(images)) / scale
    expected = [kept / 2**k for k in range(1, 9)]
    np.testing.assert_allclose(column(result, "diversity")[1:], expected, rtol=1e-3)
    assert column(result, "end_points")[-1] == 1
    moved = np.sqrt(np.square(cells(images)).sum((1, 2, 3))) / 2**8 / scale
    assert column(result, "fixed_fraction")[-1] == pytest.approx((moved < 0.01).mean())


def test_reconstructions_of_another_size_are_resized(photos):
    images = photos[:8]
    small = inverter("conv5", grow=8)
    result = EXPERIMENT.measure({"a": small}, images, times=2)
    first = resize_images(small.reconstruct(images), (64, 64))
    second = resize_images(small.reconstruct(first), (64, 64))
    scale = metrics.mean_pairwise_distance(images)
    step = metrics.per_image_distance(first, second).mean() / scale
    assert result.rows[2]["step"] == pytest.approx(step, rel=1e-4)
    assert result.rows[2]["step"] > 0.001


def test_a_shipped_inverter(photos, fc6):
    images = photos[::2][:6]
    result = EXPERIMENT.measure({"alexnet-fc6-64": fc6}, images, times=2)
    first = fc6.reconstruct(images)
    second = fc6.reconstruct(first)
    scale = metrics.mean_pairwise_distance(images)
    row = result.rows[2]
    assert row["layer"] == "fc6" and row["inverter"] == "alexnet-fc6-64"
    step = metrics.per_image_distance(first, second).mean() / scale
    assert row["step"] == pytest.approx(step, abs=1e-4)
    error = metrics.normalized_error(images, second)
    assert row["distance"] == pytest.approx(error, abs=1e-4)
    diversity = metrics.mean_pairwise_distance(second) / scale
    assert row["diversity"] == pytest.approx(diversity, abs=1e-4)
    still = (metrics.per_image_distance(first, second) / scale < 0.01).mean()
    assert row["fixed_fraction"] == pytest.approx(still)


@pytest.mark.slow
def test_more_layers_than_a_chart_can_tell_apart(photos):
    inverters = {f"a{i}": inverter(f"conv{i}") for i in range(13)}
    inverters["ae"] = inverter("conv1", train_encoder=True)
    result = EXPERIMENT.run(inverters, photos[:2], {"times": 1})
    assert len(result.rows) == 14 * 2
    titles = [figure.title for figure in result.figures]
    assert len(titles) == 2 * 3 + 2
    assert titles[0].endswith(": inversion network") and titles[3].endswith(": autoencoder")
    assert "conv1 (autoencoder)" in result.findings[0]


def test_what_cannot_be_iterated_is_refused(photos):
    given = {"a": inverter("conv5")}
    with pytest.raises(InputError, match="one iteration and two images. Received: times=0"):
        EXPERIMENT.run(given, photos, {"times": 0})
    with pytest.raises(InputError, match="Received: times=20, 1 images"):
        EXPERIMENT.run(given, photos[:1])
    with pytest.raises(InputError, match="give different images. Received: 3 images"):
        EXPERIMENT.run(given, np.repeat(photos[:1], 3, 0))
