import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest

from tfinvert.reporting.plots import line_chart, loss_curve

HISTORY = [{"step": step, "loss": 5.0 - step / 100} for step in range(0, 100, 10)]
FALLING = [{"step": step, "loss": 10.0 ** (-step / 30)} for step in range(0, 100, 10)]


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


def test_all_references_are_inside_and_resolve():
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


def test_order_does_not_matter_and_values_that_are_not_finite_are_left_out():
    expected = loss_curve(HISTORY)
    assert loss_curve(HISTORY[::-1]) == expected
    odd = {"step": 55, "loss": float("nan"), "validation_error": float("inf")}
    assert loss_curve([*HISTORY, odd]) == expected


def test_one_entry_of_numpy_numbers_is_enough():
    svg = loss_curve([{"step": np.int64(3), "loss": np.float32(0.5)}])
    ElementTree.fromstring(svg)


def test_matplotlib_settings_are_left_alone():
    before = dict(matplotlib.rcParams)
    loss_curve(HISTORY)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "history", [[], [{"step": 1}], [{"loss": 1.0}], [{"step": 1, "loss": float("nan")}]]
)
def test_a_bad_history_is_refused(history):
    with pytest.raises(ValueError, match="Received: "):
        loss_curve(history)


def test_a_line_chart_names_its_axes_and_its_lines():
    lines = {"one": [(0, 0.7), (10, 0.5)], "two": [(0, 0.8), (10, 0.6)]}
    svg = line_chart(lines, x="keypoints", y="error", floor=0.4)
    assert {"keypoints", "error", "one", "two"} <= set(texts(svg))
    assert svg == line_chart(lines, x="keypoints", y="error", floor=0.4)
    assert 'aria-label="error by keypoints"' in svg


@pytest.mark.parametrize("count", [0, 6])
def test_a_line_chart_that_could_not_be_read_is_refused(count):
    lines = {str(i): [(0, 1)] for i in range(count)}
    with pytest.raises(ValueError, match=f"1 to 5. Received: {count}"):
        line_chart(lines, x="x", y="y")
