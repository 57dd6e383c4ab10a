"""The sample photographs: splits, tiles and identity."""

import pathlib
import socket

import numpy as np
import pytest
import skimage.data
import sklearn.datasets

from tfinvert.data.photos import SCIKIT_LEARN, SPLITS, Photos, extract_square_tiles, load_photograph


def test_no_photograph_is_in_both_splits():
    training, validation = set(SPLITS["training"]), set(SPLITS["validation"])
    assert training
    assert validation
    assert training.isdisjoint(validation)
    assert set(SPLITS["all"]) == training | validation | set(SCIKIT_LEARN)
    assert len({name.split("_")[0] for name in training}) + len(validation) == 5


@pytest.mark.parametrize("name", SPLITS["all"])
def test_every_photograph_is_rgb_and_part_of_the_wheel(name, monkeypatch):
    def no_network(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    photo = load_photograph(name)
    assert photo.dtype == np.uint8
    assert photo.ndim == 3
    assert photo.shape[2] == 3
    assert min(photo.shape[:2]) >= 300
    package = sklearn.datasets if name in SCIKIT_LEARN else skimage.data
    assert list(pathlib.Path(package.__file__).parent.rglob(f"{name}.*"))


def test_motorcycle_has_two_views():
    left, right = load_photograph("motorcycle_left"), load_photograph("motorcycle_right")
    assert left.shape == right.shape
    assert not np.array_equal(left, right)


@pytest.mark.parametrize("shape", [(300, 451), (451, 300), (64, 64), (427, 640), (50, 333), (2, 3)])
def test_tiles_are_squares_inside_the_photograph(shape):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    photo = np.stack([rows, columns, 0 * rows], -1)  # pixels encode their row and column
    tiles = extract_square_tiles(photo)
    sides = [tile.shape[0] for tile in tiles]
    assert sides == sorted(sides, reverse=True)
    assert set(sides) == {min(shape), min(shape) // 2}
    for tile in tiles:
        side = tile.shape[0]
        assert tile.shape == (side, side, 3)
        top, left = tile[0, 0, :2]
        assert 0 <= top <= shape[0] - side
        assert 0 <= left <= shape[1] - side
        np.testing.assert_array_equal(tile, photo[top : top + side, left : left + side])
    corners = {(tile.shape[0], *tile[0, 0, :2]) for tile in tiles}
    assert len(corners) == len(tiles)


@pytest.mark.parametrize(
    "split", ["validation", *(pytest.param(s, marks=pytest.mark.slow) for s in ("training", "all"))]
)
def test_evaluation_images_are_the_same_each_time(split):
    photos = Photos(split)
    first = list(photos.evaluation_images().as_numpy_iterator())
    again = list(photos.evaluation_images().as_numpy_iterator())
    assert len(first) == len(again) == photos.evaluation_size
    for one, two in zip(first, again, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, two)


def test_an_epoch_visits_each_photograph_equally_often():
    photos = Photos("validation")
    shapes = [photos.training_image(index).shape for index in range(len(photos))]
    assert shapes.count(load_photograph("coffee").shape) == len(photos) // 2


def test_every_split_has_its_own_identity():
    identities = {split: Photos(split).identity() for split in SPLITS}
    assert len(set(identities.values())) == len(SPLITS)
    assert identities == {split: Photos(split).identity() for split in SPLITS}
