"""HTML reports: contents, escaping and errors."""

import base64
import io
import os
import pathlib
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tfinvert.reporting.charts import loss_curve
from tfinvert.reporting.formatting import format_cell, format_detail
from tfinvert.reporting.report import Chapter, Figure, write_report

VOID = {"meta", "img"}
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 10, 3)) / 255.0
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M 0 0"/></svg>'


class Page(HTMLParser):
    """Collects the elements of a page and the text in them; fails on unbalanced tags."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = {}
        self.open = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.text[tag][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def report(tmp_path, **parts):
    path = tmp_path / "report.html"
    write_report(path, **({"title": "A title", "lead": "A lead."} | parts))
    return Page(path.read_text(encoding="utf-8"))


def full(tmp_path, **parts):
    return report(
        tmp_path,
        findings=["One.", "Two."],
        figures=[
            Figure("Pictures", "What they show.", image=IMAGE),
            Figure("Curve", "", svg=loss_curve([{"step": 1, "loss": 1.0}])),
        ],
        metrics=[{"set": "train", "error": 0.25, "images": 1200}, {"set": "test", "error": 1}],
        details={"seed": 12345, "versions": {"numpy": "2.4"}},
        **parts,
    )


def test_page_contains_all_arguments(tmp_path):
    page = full(tmp_path)
    assert page.text["title"] == page.text["h1"] == ["A title"]
    assert page.text["p"] == ["A lead."]
    assert page.text["li"] == ["One.", "Two."]
    assert page.text["h2"] == ["Findings", "Results", "Figures", "Details"]
    assert page.text["h3"] == ["Figure 1 Pictures", "Figure 2 Curve"]
    assert page.text["figcaption"] == ["What they show."]
    assert page.text["th"] == ["set", "error", "images"]
    assert page.text["td"] == ["train", "0.2500", "1,200", "test", "1.000", "–"]
    assert page.text["dt"] == ["seed", "versions"]
    assert page.text["dd"] == ["12345", "numpy 2.4"]
    assert len(page.all("svg")) == 1


def test_numeric_columns_are_marked_in_head_and_body(tmp_path):
    page = full(tmp_path)
    row = [None, "number-cell", "number-cell"]
    assert [cell.get("class") for cell in page.all("th")] == row
    assert [cell.get("class") for cell in page.all("td")] == row * 2


def test_empty_sections_are_omitted(tmp_path):
    page = report(tmp_path, findings=[], figures=[], metrics=[], details={})
    assert "h2" not in page.text


def test_all_text_is_escaped(tmp_path):
    nasty = "<script>alert('x')</script> & \"q\" $title"
    page = report(
        tmp_path,
        title=nasty,
        lead=nasty,
        findings=[nasty],
        figures=[Figure(nasty, nasty, image=IMAGE)],
        metrics=[{nasty: nasty}],
        details={nasty: nasty},
    )
    assert page.all("script") == []
    for tag in ("title", "h1", "p", "li", "figcaption", "th", "td", "dt", "dd"):
        assert page.text[tag] == [nasty]
    assert page.text["h3"] == [f"Figure 1 {nasty}"]
    assert page.all("img")[0]["alt"] == nasty


def test_page_loads_no_resources(tmp_path):
    page = full(tmp_path)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    for _, attrs in page.elements:
        for name, value in attrs.items():
            if name.split(":")[-1] in ("src", "href", "srcset", "data"):
                assert value.startswith(("#", "data:"))
    assert "url(" not in page.text["style"][0] and "@import" not in page.text["style"][0]


def test_embedded_image(tmp_path):
    kind, data = full(tmp_path).all("img")[0]["src"].split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        np.testing.assert_array_equal(np.array(picture), np.rint(IMAGE * 255).astype(np.uint8))


def test_small_images_are_enlarged_by_integer_factors(tmp_path):
    images = [np.zeros((50, width, 3)) for width in (10, 64, 200, 900)]
    page = report(tmp_path, figures=[Figure("", "", image=image) for image in images])
    sizes = [(int(img["width"]), int(img["height"])) for img in page.all("img")]
    assert sizes == [(60, 300), (384, 300), (200, 50), (900, 50)]
    assert [img.get("class") for img in page.all("img")] == ["enlarged", "enlarged", None, None]


def test_figure_needs_a_format(tmp_path):
    with pytest.raises(ValueError, match="needs an image, svg, gif or rows"):
        Figure("a", "b")
    with pytest.raises(ValueError, match="is not a GIF"):
        Figure("a", "b", gif=b"\x89PNG")
    assert Figure("a", "b", svg=SVG).image is None


def test_page_prefers_svg_and_gif(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, format="GIF")
    gif = buffer.getvalue()
    forms = [{"image": IMAGE, "svg": SVG, "gif": gif}, {"image": IMAGE, "gif": gif}]
    page = report(tmp_path, figures=[Figure("a", "b", **form) for form in forms])
    assert len(page.all("svg")) == 1
    (img,) = page.all("img")
    assert base64.b64decode(img["src"].removeprefix("data:image/gif;base64,")) == gif


def test_chapters_number_figures_consecutively_and_collapse_long_tables(tmp_path):
    figure = Figure("a", "b", image=IMAGE)
    chapters = [
        Chapter("First", "What was asked.", ["Found."], [figure], [{"k": 1}] * 20),
        Chapter("Second", figures=[figure], rows=[{"k": 1}] * 21),
        Chapter("Third"),
    ]
    page = report(tmp_path, figures=[figure], chapters=chapters)
    assert page.text["h2"] == ["Figures", "First", "Second"]
    assert [text for text in page.text["span"] if text] == ["Figure 1", "Figure 2", "Figure 3"]
    assert "What was asked." in page.text["p"]
    assert page.text["li"] == ["Found."]
    assert page.text["summary"] == ["Full table, 21 rows"]
    assert len(page.all("tr")) == 21 + 22


def test_rows_of_images_are_separate_and_labelled(tmp_path):
    rng = np.random.default_rng(0)
    rows = {"a < b": rng.integers(0, 256, (2, 8, 40, 3), np.uint8), "c": np.zeros((2, 8, 40, 3))}
    page = report(tmp_path, figures=[Figure("a", "b", rows=rows)])
    assert page.text["span"] == ["Figure 1", "a < b", "c"]
    (grid,) = [x for x in page.all("div") if x["class"] == "rows"]
    assert grid["style"] == "--columns: 2; --width: 120px"
    images = page.all("img")
    assert [x["alt"] for x in images] == ["a < b, 1", "a < b, 2", "c, 1", "c, 2"]
    file = base64.b64decode(images[1]["src"].partition(",")[2])
    np.testing.assert_array_equal(Image.open(io.BytesIO(file)), rows["a < b"][1])
    with pytest.raises(ValueError, match="shape of the first row"):
        Figure("a", "b", rows=rows | {"d": np.zeros((2, 9, 40, 3))})


@pytest.mark.parametrize(
    "svg",
    [
        "<svg>",
        "text",
        "<p></p>",
        '<?xml version="1.0"?>' + SVG,
        "<svg><script>x</script></svg>",
        '<svg><image href="http://example.org/a.png"/></svg>',
    ],
)
def test_invalid_svg(svg):
    with pytest.raises(ValueError, match="Received: "):
        Figure("a", "b", svg=svg)


def test_row_with_an_unknown_column(tmp_path):
    with pytest.raises(ValueError, match=r"Received: \['other'\]"):
        report(tmp_path, metrics=[{"error": 1.0}, {"other": 1.0}])


def test_findings_as_a_single_string(tmp_path):
    with pytest.raises(ValueError, match="Received: "):
        report(tmp_path, findings="One.")


def test_writing_leaves_only_the_report(tmp_path):
    full(tmp_path / "new")
    full(tmp_path / "new")
    assert os.listdir(tmp_path / "new") == ["report.html"]


def test_a_failed_write_keeps_the_older_report(tmp_path, monkeypatch):
    report(tmp_path, title="old")
    before = (tmp_path / "report.html").read_bytes()

    def fail(self, *_, **__):
        self.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_text", fail)
        with pytest.raises(OSError, match="disk full"):
            full(tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        report(tmp_path, figures=[Figure("a", "b", image=IMAGE * np.nan)])
    assert (tmp_path / "report.html").read_bytes() == before
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (np.float32(0.5), "0.5000"),
        (12.3456, "12.35"),
        (999.96, "1,000"),
        (123456.7, "123,457"),
        (0.00001234, "1.234e-05"),
        (0.0, "0"),
        (np.int64(1234567), "1,234,567"),
        (float("nan"), "NaN"),
        (float("-inf"), "-inf"),
        (True, "yes"),
        (None, "–"),
        ("text", "text"),
    ],
)
def test_table_cells(value, text):
    assert format_cell(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-4, "0.0003"),
        (20160627, "20160627"),
        (False, "no"),
        ([64, 0.5], "64, 0.5"),
        ({}, "–"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
    ],
)
def test_details(value, text):
    assert format_detail(value) == text
