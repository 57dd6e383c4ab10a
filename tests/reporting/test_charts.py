"""Charts of table columns equal the charts of the same points."""

import numpy as np
import pandas as pd

from tfinvert.reporting import charts
from tfinvert.reporting.charts import MAX_LINES, dot_chart, line_chart

WORDS = {"title": "Error", "caption": "Less is better.", "x": "error"}
ROWS = [
    {"layer": layer, "method": method, "depth": depth, "error": depth + i, "±": 0.1}
    for depth, layer in enumerate(("conv1", "fc6", "fc8"))
    for i, method in enumerate(("network", "autoencoder"))
]


def test_lines_are_those_of_the_columns():
    rows = [*ROWS, {"layer": "none", "method": "mean", "error": 9.0}]  # at no depth
    words = WORDS | {"y": "depth"}
    chart = charts.table_line_chart(
        rows, "depth", "error", "±", series="method", ordered=False, **words
    )
    points = {
        method: [(depth, depth + i, 0.1) for depth in range(3)]
        for i, method in enumerate(("network", "autoencoder"))
    }
    expected = line_chart(points, **words)
    assert (chart.title, chart.caption) == (expected.title, expected.caption)
    np.testing.assert_array_equal(chart.image, expected.image)


def test_of_more_than_twelve_lines_the_first_are_drawn_and_the_caption_says_so():
    rows = [{"label": f"layer{i}", "x": x, "y": i * x} for i in range(15) for x in (0, 1)]
    chart = charts.table_line_chart(pd.DataFrame(rows), "x", "y", **WORDS | {"y": "y"})
    assert chart.caption == "Less is better. The last 3 are omitted."
    assert "layer11" in chart.svg and "layer12" not in chart.svg


def test_of_lines_that_are_no_family_fewer_can_be_told_apart():
    rows = [{"label": f"layer{i}", "x": x, "y": i * x} for i in range(15) for x in (0, 1)]
    chart = charts.table_line_chart(rows, "x", "y", ordered=False, **WORDS | {"y": "y"})
    assert chart.caption.endswith(f"The last {15 - MAX_LINES} are omitted.")


def test_dots_are_those_of_the_columns():
    chart = charts.table_dot_chart(ROWS, "error", "±", item="layer", series="method", **WORDS)
    points = {
        method: {layer: (depth + i, 0.1) for depth, layer in enumerate(("conv1", "fc6", "fc8"))}
        for i, method in enumerate(("network", "autoencoder"))
    }
    np.testing.assert_array_equal(chart.image, dot_chart(points, **WORDS).image)
    alone = charts.table_dot_chart(ROWS[::2], "error", "±", item="layer", **WORDS)
    expected = dot_chart({"": points["network"]}, **WORDS)
    np.testing.assert_array_equal(alone.image, expected.image)
