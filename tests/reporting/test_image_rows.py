"""Figures with rows of images, as SVG and as pixels."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tfinvert.reporting.image_rows import image_rows

RNG = np.random.default_rng(0)
ROWS = {name: RNG.random((3, 16, 12, 3), np.float32) for name in ("original", "conv1 & <co>")}


def texts(svg):
    return {"".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if "text" in e.tag}


def embedded(figure):
    """The images embedded in the SVG, in order."""
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for data in re.findall(r'"data:image/png;base64,([^"]+)"', figure.svg)
    ]


def test_svg_embeds_every_image_in_order():
    found = embedded(image_rows(ROWS, title="T", caption="C"))
    given = [np.rint(image * 255).astype(np.uint8) for batch in ROWS.values() for image in batch]
    assert len(found) == 6
    for image, expected in zip(found, given, strict=True):
        if not np.array_equal(image, expected):  # some matplotlib versions store rows bottom-up
            np.testing.assert_array_equal(image[::-1], expected)


def test_rows_and_columns_are_named():
    figure = image_rows(ROWS, title="T", caption="C", columns=["a", "b", "a long name"])
    assert texts(figure.svg) == {"original", "conv1 & <co>", "a", "b", "a long name"}
    assert (figure.title, figure.caption) == ("T", "C")


def test_positions_of_images_in_pixels():
    flat = {"first": np.zeros((2, 4, 4, 3)), "second": np.zeros((2, 4, 4, 3))}
    flat["first"][1], flat["second"][0] = (1, 0, 0), (0, 0, 1)
    picture = image_rows(flat, title="T", caption="C").image

    def middle(colour):
        rows, columns = np.nonzero((picture == colour).all(-1))
        assert len(rows) > 1000
        return rows.mean(), columns.mean()

    (red_y, red_x), (blue_y, blue_x) = middle((255, 0, 0)), middle((0, 0, 255))
    assert red_y < blue_y
    assert red_x > blue_x


def test_invalid_columns_and_rows():
    with pytest.raises(ValueError, match="must name 3 columns. Received: 2"):
        image_rows(ROWS, title="T", caption="C", columns=["a", "b"])
    with pytest.raises(ValueError, match="at least one row"):
        image_rows({}, title="T", caption="C")


def test_wide_rows_are_reduced():
    ramp = np.broadcast_to(np.linspace(0, 1, 224)[:, np.newaxis], (8, 112, 224, 3))
    few, many = (image_rows({"": ramp[:n]}, title="T", caption="C") for n in (2, 8))
    assert [embedded(figure)[0].shape for figure in (few, many)] == [(112, 224, 3), (62, 125, 3)]
    across = embedded(many)[0][30, :, 0].astype(int)
    assert (np.abs(np.diff(across) - 255 / 125) < 1.5).all()  # averaged: no double step
    assert few.image.shape[1] == pytest.approx(2 * 224 * 1.075, abs=60)


def test_all_pixels_of_a_large_image_are_rendered():
    lines = np.zeros((2, 40, 200, 3))
    lines[:, :, ::2] = 1
    picture = image_rows({"": lines}, title="T", caption="C").image
    across = picture[20, :, 0]
    assert (np.diff(np.flatnonzero(across == 0)[:100]) == 2).all()
