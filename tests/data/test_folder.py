"""Image folders: order, splits, unreadable files and errors."""

import logging
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tfinvert import InputError
from tfinvert.data.folder import ImageFolder


def write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (4, 4), (value, value, value))
    image.save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")


def values(folder):
    return [int(image[0, 0, 0]) for image in folder.evaluation_images().as_numpy_iterator()]


def refusal(*arguments):
    with pytest.raises(InputError) as caught:
        ImageFolder(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nested_images_are_in_the_order_of_their_relative_paths(tmp_path):
    for value, name in [(40, "z.png"), (20, "b/a.png"), (10, "a.png"), (30, "b/c/d.png")]:
        write(tmp_path / name, value)
    folder = ImageFolder(tmp_path)
    assert len(folder) == folder.evaluation_size == 4
    assert values(folder) == [10, 20, 30, 40]
    assert folder.name == f"folder:{tmp_path}"
    assert folder.unreadable == []


def test_extensions_are_case_insensitive(tmp_path):
    for value, name in enumerate(["a.JPG", "b.Jpeg", "c.PNG", "d.png", "e.jpg"]):
        write(tmp_path / name, value)
    for name in ["f.gif", "g.txt", "jpg", "h.jpg.bak"]:
        (tmp_path / name).write_text("other")
    assert len(ImageFolder(str(tmp_path))) == 5


def test_order_does_not_depend_on_how_the_folder_is_given(tmp_path, monkeypatch):
    for value, name in [(1, "s/b.png"), (2, "s-t/a.png"), (3, "s.png")]:
        write(tmp_path / name, value)
    expected = values(ImageFolder(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert values(ImageFolder(".")) == expected
    assert values(ImageFolder(f"../{tmp_path.name}/")) == expected


def test_unreadable_files_are_counted_named_and_skipped(tmp_path, caplog):
    for index in range(3):
        write(tmp_path / f"good{index}.png", index)
    for index in range(7):
        (tmp_path / f"bad{index}.jpg").write_bytes(b"no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING, logger="absl"):
        folder = ImageFolder(tmp_path)
    assert len(folder) == 3
    assert values(folder) == [0, 1, 2]
    assert len(folder.unreadable) == 8
    assert str(tmp_path / "bad6.jpg") in folder.unreadable[6]
    (record,) = caplog.records
    assert "skipped 8 unreadable of 11 files" in record.getMessage()
    assert str(tmp_path / "bad0.jpg") in record.getMessage()
    assert "and 3 more" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("part", ["all", "training", "validation"])
def test_no_readable_image(tmp_path, part):
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(b"no image")
    message = refusal(tmp_path, part)
    assert f"images in {tmp_path} can be read" in message


def test_no_such_folder(tmp_path):
    assert refusal(tmp_path / "none") == f"no such folder: {tmp_path / 'none'}"
    write(tmp_path / "a.png")
    assert "no such folder" in refusal(tmp_path / "a.png")
    assert "no such folder" in refusal("x" * 5000)


def test_a_folder_without_images_names_the_extensions(tmp_path):
    (tmp_path / "a.gif").write_text("")
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert ".jpg, .jpeg, .png" in message


def names(root, part):
    folder = ImageFolder(root, part)
    return {pathlib.Path(name).as_posix() for name in folder.names}


def test_splits_are_disjoint_complete_and_stable(tmp_path):
    for index in range(150):
        write(tmp_path / f"{index % 7}" / f"{index}.png", index)
    training, validation = names(tmp_path, "training"), names(tmp_path, "validation")
    assert training.isdisjoint(validation)
    assert len(training | validation) == 150
    assert 1 <= len(validation) <= 20
    for index in range(10):
        write(tmp_path / "new" / f"{index}.png")
    assert training <= names(tmp_path, "training")
    assert validation <= names(tmp_path, "validation")


def test_splits_do_not_depend_on_the_location_of_the_folder(tmp_path):
    for index in range(30):
        for place in "ab":
            write(tmp_path / place / f"{index}.png", index)
    assert names(tmp_path / "a", "validation") == names(tmp_path / "b", "validation")


@pytest.mark.parametrize("start", range(0, 12, 3))
def test_three_images_give_two_to_validation(tmp_path, start):
    for value in range(3):
        write(tmp_path / f"{start + value}.png", value)
    training, validation = (
        values(ImageFolder(tmp_path, part)) for part in ("training", "validation")
    )
    assert len(validation) == 2
    assert sorted(training + validation) == [0, 1, 2]


def test_at_least_one_image_is_left_for_training(tmp_path, monkeypatch):
    monkeypatch.setattr("tfinvert.data.folder.VALIDATION_FRACTION", 0.999999)
    for value in range(3):
        write(tmp_path / f"{value}.png", value)
    assert len(ImageFolder(tmp_path, "training")) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_for_two_splits(tmp_path, count):
    for value in range(count):
        write(tmp_path / f"{value}.png")
    assert len(ImageFolder(tmp_path)) == count
    for part in ("training", "validation"):
        assert f"Received: {count} readable image(s)" in refusal(tmp_path, part)


@pytest.mark.parametrize("broken", range(5))
def test_unreadable_files_are_in_neither_split(tmp_path, broken):
    for index in range(5):
        write(tmp_path / f"{index}.png", index)
    for index in (broken, (broken + 1) % 5):
        (tmp_path / f"{index}.png").write_bytes(b"no image")
    assert len(ImageFolder(tmp_path, "training")) == 1
    assert len(ImageFolder(tmp_path, "validation")) == 2


def test_cyclic_links_do_not_repeat_images(tmp_path):
    write(tmp_path / "a" / "x.png", 1)
    write(tmp_path / "y.png", 2)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert values(ImageFolder(tmp_path)) == [1, 2]


def test_linked_folders_are_followed(tmp_path):
    write(tmp_path / "elsewhere" / "x.png", 5)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    assert values(ImageFolder(tmp_path / "alias")) == [5]


def test_names_other_than_utf8(tmp_path):
    for index, name in enumerate([b"\xff\xfe.png", "é ü.png".encode(), b"a.png"]):
        write(pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)), index)
    assert len(ImageFolder(tmp_path)) == 3
    assert len(ImageFolder(tmp_path, "training")) == 1


def test_no_file_stays_open(tmp_path):
    for index in range(20):
        write(tmp_path / f"{index}.png", index)
    (tmp_path / "bad.png").write_bytes(b"no image")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    folder = ImageFolder(tmp_path)
    assert [folder.image(index).shape for index in range(20)] == [(4, 4, 3)] * 20
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before


def test_images_equal_the_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(ImageFolder(tmp_path).image(0), pixels)
