"""Photographs and rows of stored features: names, order, shares and views."""

import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.refusals import refused
from tfinvert.config.stored_pairs import PairsConfig, parse_shape
from tfinvert.data.stored_pairs import StoredPairs, make_view

FILES = ["a.png", "b.png", "c/d.png", "c/e.png", "f.png"]


def shade(index):
    return 40 * index + 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Photographs of one shade of grey each, in the folder `photos` of the current folder."""
    for index, name in enumerate(FILES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 40, 3), shade(index), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(names, indices=range(5), data="folder:photos", **changes):
    """Pairs of a file in which the feature of a photograph is its shade."""
    columns = {f"feature_{k}": [shade(i) + k for i in indices] for k in range(3)}
    pd.DataFrame({"filename": names, **columns}).to_csv("pairs.csv", index=False)
    return StoredPairs(PairsConfig("pairs.csv", **changes), data)


def check(opened, count=5):
    source = opened.open("all", (8, 8), memory_gb=1)
    images, features = source.read(np.arange(len(source)))
    assert len(source) == count
    assert images.shape == (count, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 0, 0, 0], features[:, 0])
    np.testing.assert_array_equal(features[:, 2], features[:, 0] + 2)
    return source


@pytest.mark.parametrize(
    "rename",
    [
        lambda name, root: name,
        lambda name, root: f"./{name}",
        lambda name, root: f"photos/{name}",
        lambda name, root: str(root / "photos" / name),
        lambda name, root: f"/elsewhere/{name}",
        lambda name, root: name.rpartition("/")[2].removesuffix(".png"),
    ],
)
def test_rows_and_photographs_are_matched_by_name(folder, rename):
    order = [3, 0, 4, 1, 2]
    check(pairs([rename(FILES[i], folder) for i in order], order))


def test_rows_in_the_order_of_the_folder(folder):
    check(pairs(["x"] * 5, match="order"))
    line = refused(lambda: pairs(["x"] * 4, range(4), match="order"), "as many rows as image files")
    assert line.endswith("4 rows in pairs.csv, 5 files in photos")


def test_what_does_not_match_is_counted_and_named(folder, caplog):
    names, indices = [*FILES[:4], "g.png"], [0, 1, 2, 3, 0]
    line = refused(lambda: pairs(names, indices), "0.8 instead of --pairs_min_share=0.9")
    parts = (
        "1 of 5 photographs of photos have no row: f.png",
        "1 of 5 rows of pairs.csv have no photograph: row 4 (g.png)",
    )
    assert all(part in line for part in parts)
    with caplog.at_level(logging.WARNING, "absl"):
        check(pairs(names, indices, min_share=0.8), 4)
    assert all(part in caplog.text for part in parts)
    refused(
        lambda: pairs(["p", "q"], [0, 1], min_share=0.0), "have no photograph: row 0 (p); row 1"
    )


def test_many_names_are_counted(folder):
    line = refused(lambda: pairs([f"n{i}" for i in range(9)], [0] * 9))
    assert "row 4 (n4); and 4 more" in line


def test_a_file_name_in_two_folders_matches_by_path_only(folder):
    (folder / "photos" / "c" / "a.png").write_bytes((folder / "photos" / "a.png").read_bytes())
    line = refused(lambda: pairs([name.rpartition("/")[2] for name in FILES], min_share=0.9))
    assert "2 of 6 photographs of photos have no row: a.png; c/a.png" in line
    check(pairs([*FILES, "c/a.png"], [*range(5), 0]), 6)


def test_splits_are_of_the_matched_photographs(folder):
    opened = pairs(FILES)
    names = [opened.open(split, (8, 8)).names for split in ("training", "validation")]
    assert len(names[1]) == 2
    assert sorted(sum(names, [])) == FILES


def test_batches_keep_the_pairs(folder):
    source = check(pairs(FILES))
    batches = source.batches(4, seed=3)
    images, features = next(iter(batches.skip(2)))
    np.testing.assert_allclose(255 * images[:, 4, 4, 1], features[:, 0], atol=1e-3)
    again = next(iter(source.batches(4, seed=3, start_step=2)))
    np.testing.assert_array_equal(again[1], features)
    parts = [next(iter(source.batches(4, 3, 2, (i, 2))))[1] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), features)


def test_only_folders_have_names(folder):
    refused(lambda: pairs(FILES, data="photos"), "--data=folder:PATH", "--data=photos")
    refused(lambda: pairs(FILES, data="folder:none"), "no such folder: none")


def test_views_are_the_whole_photograph_or_its_central_square():
    photograph = np.zeros((40, 80, 3), np.uint8)
    photograph[:, :20], photograph[:, 60:] = 100, 200
    whole, crop = make_view(photograph, (8, 8)), make_view(photograph, (8, 8), crop=True)
    np.testing.assert_array_equal(whole[4, [0, 3, 7], 0], [100, 0, 200])
    np.testing.assert_array_equal(crop, 0)


def test_configurations_out_of_range():
    refused(lambda: PairsConfig("x", match="size"), "--pairs_match must be one of name, order")
    refused(lambda: PairsConfig("x", view="half"), "--pairs_view must be one of whole, crop")
    refused(lambda: PairsConfig("x", min_share=2), "--pairs_min_share must be in [0, 1]")
    assert parse_shape("") is None and parse_shape("384") == (384,)
    assert parse_shape("16,16,384") == (16, 16, 384)
    for text in ("16,16", "a", "-1", "0", "1,2,3,4"):
        refused(lambda text=text: parse_shape(text), "--pairs_shape", text)
