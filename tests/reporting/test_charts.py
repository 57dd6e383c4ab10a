"""Charts: contents and determinism; charts of table columns equal those of the same points."""

import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from tfinvert.reporting.charts import (
    MAX_LINES,
    dot_chart,
    line_chart,
    loss_curve,
    path_chart,
    table_dot_chart,
    table_line_chart,
)

HISTORY = [{"step": step, "loss": 5.0 - step / 100} for step in range(0, 100, 10)]
FALLING = [{"step": step, "loss": 10.0 ** (-step / 30)} for step in range(0, 100, 10)]


EMPTY = {"title": "", "caption": "", "x": "x", "y": "y"}


def texts(svg):
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if "text" in e.tag]


def with_validation(history):
    return [
        dict(entry, validation_error=0.5) if index % 3 == 0 else entry
        for index, entry in enumerate(history)
    ]


def test_the_svg_can_be_inlined():
    svg = loss_curve(with_validation(HISTORY))
    assert svg.startswith("<svg ") and svg.endswith("</svg>")
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    # A style element would apply to the whole page.
    assert not tags & {"style", "script", "image", "metadata", "a"}
    assert "<?xml" not in svg and "<!DOCTYPE" not in svg


def test_references_are_internal_and_resolve():
    svg = loss_curve(with_validation(HISTORY))
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    references = [
        value for e in root.iter() for name, value in e.attrib.items() if name.endswith("href")
    ]
    assert references
    for reference in references + [f"#{name}" for name in re.findall(r"url\(#(.*?)\)", svg)]:
        assert reference[0] == "#" and reference[1:] in ids
    assert set(re.findall(r"https?://[^\"]*", svg)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_same_history_gives_the_same_text_and_two_plots_share_no_id():
    assert loss_curve(HISTORY) == loss_curve([dict(entry) for entry in HISTORY])
    first, second = (set(re.findall(r' id="([^"]*)"', loss_curve(h))) for h in (HISTORY, FALLING))
    assert first and not first & second


def test_the_validation_error_has_a_panel_only_if_there_is_one():
    assert "Validation error" not in texts(loss_curve(HISTORY))
    both = texts(loss_curve(with_validation(HISTORY)))
    assert "Training loss" in both and "Validation error" in both
    assert both.count("Step") == 2


def test_a_wide_range_is_drawn_on_a_log_axis():
    assert "Training loss (log scale)" in texts(loss_curve(FALLING))
    assert "0.01" in texts(loss_curve(FALLING))
    assert "Training loss" in texts(loss_curve(HISTORY))
    assert "Training loss" in texts(loss_curve([*FALLING, {"step": 100, "loss": 0.0}]))


def test_order_is_irrelevant_and_non_finite_values_are_omitted():
    expected = loss_curve(HISTORY)
    assert loss_curve(HISTORY[::-1]) == expected
    odd = {"step": 55, "loss": float("nan"), "validation_error": float("inf")}
    assert loss_curve([*HISTORY, odd]) == expected


def test_one_entry_of_numpy_numbers_is_enough():
    svg = loss_curve([{"step": np.int64(3), "loss": np.float32(0.5)}])
    ElementTree.fromstring(svg)


def test_matplotlib_settings_are_restored():
    before = dict(matplotlib.rcParams)
    loss_curve(HISTORY)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "history", [[], [{"step": 1}], [{"loss": 1.0}], [{"step": 1, "loss": float("nan")}]]
)
def test_invalid_history(history):
    with pytest.raises(ValueError, match="Received: "):
        loss_curve(history)


def test_a_line_chart_names_its_axes_and_its_lines():
    lines = {"one": [(0, 0.7), (10, 0.5)], "two": [(0, 0.8), (10, 0.6)]}
    figure = line_chart(lines, title="T", caption="C", x="keypoints", y="error", floor=0.4)
    assert {"keypoints", "error", "one", "two"} <= set(texts(figure.svg))
    assert (figure.title, figure.caption) == ("T", "C")
    again = line_chart(lines, title="T", caption="C", x="keypoints", y="error", floor=0.4)
    assert figure.svg == again.svg
    np.testing.assert_array_equal(figure.image, again.image)
    assert 'aria-label="error by keypoints"' in figure.svg
    assert figure.image.dtype == np.uint8
    assert (figure.image == 255).all(-1).mean() > 0.5  # on white


def test_line_chart_with_named_ticks():
    lines = {"ours": [(0, 0.5), (2, 0.7)]}
    named = line_chart(lines, **EMPTY, ticks=["conv1", "conv2", "fc6"])
    assert {"conv1", "conv2", "fc6"} < set(texts(named.svg))
    assert "conv1" not in texts(line_chart(lines, **EMPTY).svg)


def test_a_logarithmic_axis_has_plain_numbers():
    svg = line_chart({"a": [(1, 0.1), (5, 0.2), (100, 0.3)]}, **EMPTY, log_x=True).svg
    assert {"1", "10", "100"} <= set(texts(svg))


def test_an_ordered_family_has_colours_in_order_and_standard_errors_their_bars():
    lines = {f"layer {i}": [(0, i, 0.5), (1, i + 1, 0.5)] for i in range(12)}
    figure = line_chart(lines, **EMPTY, ordered=True)
    assert set(lines) <= set(texts(figure.svg))
    assert len(set(re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.5", figure.svg))) >= 12
    without = {name: [point[:2] for point in points] for name, points in lines.items()}
    bare = line_chart(without, **EMPTY, ordered=True).svg
    assert figure.svg.count("<path") > bare.count("<path")


@pytest.mark.parametrize(
    ("count", "ordered", "most"), [(0, False, 7), (8, False, 7), (13, True, 12)]
)
def test_too_many_lines(count, ordered, most):
    with pytest.raises(ValueError, match=f"1 to {most} lines. Received: {count}"):
        line_chart({str(i): [(0, 1)] for i in range(count)}, **EMPTY, ordered=ordered)
    things = {str(i): {"a": (0.0, 0.0)} for i in range(count)}
    with pytest.raises(ValueError, match=f"1 to {most} lines. Received: {count}"):
        dot_chart(things, title="", caption="", x="x", ordered=ordered)


def test_dot_chart_names_series_and_items():
    series = {"fc6": {"binarise": (0.3, 0.01), "dropout": (0.4, 0.0)}, "fc7": {"noise": (0.1, 0.1)}}
    figure = dot_chart(series, title="T", caption="C", x="rise")
    assert {"fc6", "fc7", "binarise", "dropout", "noise", "rise"} <= set(texts(figure.svg))


def test_a_path_chart_names_paths_and_points():
    paths = {"HOG": [(0.3, 0.5, "squared"), (0.4, 0.2, "other")], "fc6": [(0.6, 0.7, "squared")]}
    figure = path_chart(paths, title="T", caption="C", x="error", y="distance")
    assert {"HOG", "fc6", "squared", "other", "error", "distance"} <= set(texts(figure.svg))


LABELS = {"title": "Error", "caption": "Less is better.", "x": "error"}
ROWS = [
    {"layer": layer, "method": method, "depth": depth, "error": depth + i, "±": 0.1}
    for depth, layer in enumerate(("conv1", "fc6", "fc8"))
    for i, method in enumerate(("network", "autoencoder"))
]


def test_table_line_chart():
    rows = [*ROWS, {"layer": "none", "method": "mean", "error": 9.0}]  # at no depth
    labels = LABELS | {"y": "depth"}
    chart = table_line_chart(rows, "depth", "error", "±", series="method", ordered=False, **labels)
    points = {
        method: [(depth, depth + i, 0.1) for depth in range(3)]
        for i, method in enumerate(("network", "autoencoder"))
    }
    expected = line_chart(points, **labels)
    assert (chart.title, chart.caption) == (expected.title, expected.caption)
    np.testing.assert_array_equal(chart.image, expected.image)


def test_table_line_chart_omits_lines_beyond_twelve():
    rows = [{"label": f"layer{i}", "x": x, "y": i * x} for i in range(15) for x in (0, 1)]
    chart = table_line_chart(pd.DataFrame(rows), "x", "y", **LABELS | {"y": "y"})
    assert chart.caption == "Less is better. The last 3 are omitted."
    assert "layer11" in chart.svg and "layer12" not in chart.svg


def test_table_line_chart_omits_unordered_lines_beyond_seven():
    rows = [{"label": f"layer{i}", "x": x, "y": i * x} for i in range(15) for x in (0, 1)]
    chart = table_line_chart(rows, "x", "y", ordered=False, **LABELS | {"y": "y"})
    assert chart.caption.endswith(f"The last {15 - MAX_LINES} are omitted.")


def test_table_dot_chart():
    chart = table_dot_chart(ROWS, "error", "±", item="layer", series="method", **LABELS)
    points = {
        method: {layer: (depth + i, 0.1) for depth, layer in enumerate(("conv1", "fc6", "fc8"))}
        for i, method in enumerate(("network", "autoencoder"))
    }
    np.testing.assert_array_equal(chart.image, dot_chart(points, **LABELS).image)
    alone = table_dot_chart(ROWS[::2], "error", "±", item="layer", **LABELS)
    expected = dot_chart({"": points["network"]}, **LABELS)
    np.testing.assert_array_equal(alone.image, expected.image)
