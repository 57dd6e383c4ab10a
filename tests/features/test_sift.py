"""Sparse SIFT: detection against OpenCV, conversion to a grid and back."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

import tfinvert
from tfinvert import features
from tfinvert.features.sift import Keypoints, grid_to_keypoints, keypoints_to_grid, occupied_cells


def sort_by_position(keypoints):
    order = np.lexsort((keypoints.angle, keypoints.y, keypoints.x))
    return keypoints.take(order)


def random_keypoints(count, size, seed=0):
    """Random keypoints, at most one in each cell of 4×4 pixels."""
    rng = np.random.default_rng(seed)
    cells = rng.choice((size // 4) ** 2, count, replace=False)
    within = rng.uniform(0, 3.99, (2, count))
    return Keypoints(
        x=(cells % (size // 4) * 4 + within[0]).astype(np.float32),
        y=(cells // (size // 4) * 4 + within[1]).astype(np.float32),
        angle=rng.uniform(0, 2 * np.pi, count).astype(np.float32),
        scale=rng.uniform(0.8, 9, count).astype(np.float32),
        descriptors=rng.uniform(0, 0.5, (count, 128)).astype(np.float32),
    )


def test_grid_round_trip():
    keypoints = sort_by_position(random_keypoints(60, 64))
    grid = keypoints_to_grid(keypoints, (64, 64), 4, np.random.default_rng(0))
    assert grid.shape == (16, 16, 133)
    again = sort_by_position(grid_to_keypoints(grid))
    assert len(again) == 60
    for name in ("x", "y", "scale", "descriptors"):
        np.testing.assert_allclose(getattr(again, name), getattr(keypoints, name), atol=1e-5)
    turned = np.abs(again.angle - keypoints.angle)
    assert np.minimum(turned, 2 * np.pi - turned).max() < 1e-5
    np.testing.assert_allclose(
        keypoints_to_grid(again, (64, 64), 4, np.random.default_rng(1)), grid, atol=1e-5
    )


def test_cells_contain_the_keypoints_of_opencv(photos):
    image = photos[0]
    grid = features.get("sift")(photos[:1]).numpy()[0]
    pixels = np.round(image * 255).astype(np.uint8)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    found, descriptors = cv2.SIFT_create(contrastThreshold=0).detectAndCompute(grey, None)
    cells = {}
    for point, descriptor in zip(found, descriptors, strict=True):
        (x, y), angle = point.pt, np.deg2rad(point.angle)
        rest = [x % 4, y % 4, np.sin(angle), np.cos(angle), np.log(point.size / 2)]
        cells.setdefault((int(y // 4), int(x // 4)), []).append([*(descriptor / 512), *rest])
    assert {
        (row, column) for row, column in zip(*np.nonzero(occupied_cells(grid)), strict=True)
    } == {*cells}
    assert any(len(several) > 1 for several in cells.values())
    for place, candidates in cells.items():
        assert np.abs(np.array(candidates) - grid[place]).max(1).min() < 1e-4
    np.testing.assert_array_equal(grid[~occupied_cells(grid)], 0.0)


def test_documented_ranges(photos):
    grids = features.get("sift")(photos).numpy()
    full = grids[occupied_cells(grids)]
    assert len(full) > 100
    descriptors = full[:, :128]
    assert descriptors.min() >= 0
    assert descriptors.max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=0.02)
    assert full[:, 128:130].min() >= 0
    assert full[:, 128:130].max() <= 4
    np.testing.assert_allclose(np.hypot(full[:, 130], full[:, 131]), 1.0, atol=1e-5)


def test_draw_depends_on_seed_and_image_but_not_on_order(photos):
    feature = features.get("sift")
    grids = feature(photos).numpy()
    np.testing.assert_array_equal(feature(photos[::-1]).numpy()[::-1], grids)
    np.testing.assert_array_equal(features.get("sift")(photos[3:4]).numpy()[0], grids[3])
    others = features.get("sift", seed=1)(photos).numpy()
    assert (others != grids).any()
    np.testing.assert_array_equal(occupied_cells(others), occupied_cells(grids))


def test_draw_is_uniform_within_a_cell():
    four = random_keypoints(4, 8)
    together = Keypoints(
        x=np.full(4, 5, np.float32),
        y=np.full(4, 6, np.float32),
        angle=four.angle,
        scale=four.scale,
        descriptors=four.descriptors,
    )
    rng = np.random.default_rng(0)
    drawn = [keypoints_to_grid(together, (8, 8), 4, rng)[1, 1, 0] for _ in range(2000)]
    counts = [np.isclose(drawn, first).sum() for first in four.descriptors[:, 0]]
    assert sum(counts) == 2000
    assert min(counts) > 430  # 500 ± 3.6 standard deviations


def test_threads_do_not_change_values(photos):
    feature = features.get("sift")
    feature.thread_safe = False
    one_by_one = feature(photos).numpy()
    np.testing.assert_array_equal(features.get("sift")(photos), one_by_one)


@pytest.mark.parametrize("side", [4, 5, 8, 23])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_images_without_a_keypoint_give_zeros(side, level):
    feature = features.get("sift", image_shape=(side, side, 3))
    grids = feature(np.full((2, side, side, 3), level, np.float32)).numpy()
    assert grids.shape == (2, *feature.spec.shape)
    np.testing.assert_array_equal(grids, 0.0)
    assert len(grid_to_keypoints(grids[0])) == 0


def test_keypoints_at_the_border_stay_in_the_grid():
    edge = random_keypoints(3, 64).take(np.arange(3))
    edge = Keypoints(
        x=np.array([-0.3, 64.2, 30], np.float32),
        y=np.array([63.9, -0.1, 64], np.float32),
        angle=edge.angle,
        scale=edge.scale,
        descriptors=edge.descriptors,
    )
    grid = keypoints_to_grid(edge, (64, 64), 4, np.random.default_rng(0))
    assert np.argwhere(occupied_cells(grid)).tolist() == [[0, 15], [15, 0], [15, 7]]
    np.testing.assert_allclose(sorted(grid_to_keypoints(grid).x), sorted(edge.x), atol=1e-5)


def test_sides_that_are_no_multiple_of_the_cell(photos):
    feature = features.get("sift", image_shape=(30, 64, 3), cell_size=8)
    assert feature.spec.shape == (4, 8, 133)
    assert feature(photos[:2, :30]).shape == (2, 4, 8, 133)


def test_in_tf_data(photos):
    feature = features.get("sift")
    mapped = tf.data.Dataset.from_tensor_slices(photos).batch(5).map(feature)
    np.testing.assert_array_equal(np.concatenate(list(mapped)), feature(photos))


def test_config_round_trip():
    feature = features.get(
        "sift", image_shape=(96, 80, 3), cell_size=8, seed=3, contrast_threshold=0.02
    )
    again = features.from_description(features.describe(feature))
    assert again.get_config() == feature.get_config()
    assert again.spec == feature.spec


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_shape": (3, 64, 3)}, "at least 4×4 pixels. Received: 3×64"),
        ({"cell_size": 0}, "cell_size of at least 1"),
        ({"contrast_threshold": -1}, "contrast_threshold of at least 0"),
        ({"edge_threshold": 0}, "positive edge_threshold"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_invalid_configuration(config, message):
    with pytest.raises(tfinvert.InputError, match=message):
        features.get("sift", **config)


def test_invalid_images(photos):
    feature = features.get("sift")
    with pytest.raises(tfinvert.InputError, match="divide 8-bit values by 255"):
        feature(photos * 255)
    with pytest.raises(tfinvert.InputError, match="NaN or infinite"):
        feature(np.where(photos > 0.9, np.nan, photos))
