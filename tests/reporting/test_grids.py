"""Image grids and PNG files."""

import os

import numpy as np
import pytest
from PIL import Image

from tfinvert.reporting.grids import image_grid, write_png


def some_images(count=3, height=16, width=20, seed=0):
    # Multiples of 1/255 come back exactly; below 0.8 none can be mistaken for the background.
    values = np.random.default_rng(seed).integers(0, 200, (count, height, width, 3))
    return values / 255.0


def as_bytes(images):
    return np.rint(images * 255).astype(np.uint8)


def test_positions_of_unlabelled_images():
    images = some_images(2)
    grid = image_grid({"": images}, padding=3)
    assert grid.dtype == np.uint8
    assert grid.shape == (3 + 16 + 3, 3 + 20 + 3 + 20 + 3, 3)
    np.testing.assert_array_equal(grid[3:19, 3:23], as_bytes(images[0]))
    np.testing.assert_array_equal(grid[3:19, 26:46], as_bytes(images[1]))
    assert (grid[:3] == 255).all() and (grid[:, 23:26] == 255).all()


def test_scale_repeats_pixels():
    images = some_images(1)
    grid = image_grid({"": images}, scale=3, padding=0)
    np.testing.assert_array_equal(grid, as_bytes(images[0]).repeat(3, 0).repeat(3, 1))


def test_labels_are_drawn_left_of_their_rows():
    first, second = some_images(2, seed=1), some_images(2, seed=2)
    grid = image_grid({"original": first, "reconstruction": second}, padding=4)
    label_width = grid.shape[1] - (4 + 20 + 4 + 20 + 4)
    left = 4 + label_width
    assert label_width > 20
    np.testing.assert_array_equal(grid[4:20, left : left + 20], as_bytes(first[0]))
    np.testing.assert_array_equal(grid[24:40, left : left + 20], as_bytes(second[0]))
    for top in (4, 24):
        assert (grid[top : top + 16, : left - 1] < 128).any()
    # The label does not touch the image.
    assert (grid[:, left - 4 : left] == 255).all()


def test_one_empty_label():
    images = some_images(1)
    grid = image_grid({"original": images, "": images})
    left = grid.shape[1] - 4 - 20
    assert (grid[24:40, :left] == 255).all()
    assert (grid[4:20, :left] < 128).any()


def test_labels_are_joined_to_one_line():
    images = some_images(1)
    expected = image_grid({"two lines": images})
    np.testing.assert_array_equal(image_grid({"two\nlines": images}), expected)


def test_many_images_wrap_into_blocks_that_repeat_all_rows():
    first, second = some_images(5, seed=1), some_images(5, seed=2)
    grid = image_grid({"": first, " ": second}, padding=2, columns=2)
    block, gap = 16 + 2 + 16, 8
    assert grid.shape == (2 + 3 * block + 2 * gap + 2, 2 + 20 + 2 + 20 + 2, 3)
    for index in range(5):
        top = 2 + (index // 2) * (block + gap)
        left = 2 + (index % 2) * 22
        for images, y in ((first, top), (second, top + 18)):
            np.testing.assert_array_equal(
                grid[y : y + 16, left : left + 20], as_bytes(images[index])
            )
    assert (grid[2 + 2 * (block + gap) :, 24:] == 255).all()


def test_more_columns_than_images():
    images = {"": some_images(2)}
    np.testing.assert_array_equal(image_grid(images, columns=9), image_grid(images))


def test_floats_are_clipped_and_bytes_are_unchanged():
    grid = image_grid({"": np.array([[[[-1.0, 0.5, 2.0]]]], np.float32)}, padding=0)
    assert grid.tolist() == [[[0, 128, 255]]]
    grid = image_grid({"": np.array([[[[1, 2, 3]]]], np.uint8)}, padding=0)
    assert grid.tolist() == [[[1, 2, 3]]]


def test_inputs_are_not_modified():
    images = some_images(2) * 2 - 0.5
    before = images.copy()
    image_grid({"a": images})
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "at least one row"),
        ({"a": np.zeros((4, 4, 3))}, r"'a'.*\(4, 4, 3\)"),
        ({"a": np.zeros((2, 4, 4, 1))}, r"'a'.*\(2, 4, 4, 1\)"),
        ({"a": np.zeros((0, 4, 4, 3))}, r"'a'.*\(0, 4, 4, 3\)"),
        ({"a": np.zeros((2, 4, 4, 3)), "b": np.zeros((1, 4, 4, 3))}, r"'b'.*\(1, 4, 4, 3\)"),
        ({"a": np.full((1, 4, 4, 3), np.nan)}, "'a'.*NaN"),
        ({"a": np.zeros((1, 4, 4, 3), np.int64)}, "'a'.*int64"),
    ],
)
def test_invalid_rows(rows, message):
    with pytest.raises(ValueError, match=message) as caught:
        image_grid(rows)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"scale": 0}, {"scale": 1.5}, {"padding": -1}, {"columns": 0}, {"scale": True}]
)
def test_invalid_layout(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*Received: "):
        image_grid({"": some_images(1)}, **options)


def test_write_png(tmp_path):
    image = some_images(1)[0]
    write_png(tmp_path / "new" / "a.png", image)
    write_png(tmp_path / "new" / "b.png", as_bytes(image))
    assert sorted(os.listdir(tmp_path / "new")) == ["a.png", "b.png"]
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.array(picture), as_bytes(image))


def test_failed_png_keeps_the_older_file(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(self, name, **_):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(target, some_images(1)[0])
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((1, 4, 4, 3)), np.full((4, 4, 3), np.nan)]
)
def test_invalid_png_image(tmp_path, image):
    with pytest.raises(ValueError, match="Received: "):
        write_png(tmp_path / "a.png", image)
    assert os.listdir(tmp_path) == []
