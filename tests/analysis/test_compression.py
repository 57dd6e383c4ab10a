"""Compression of features, against manual computations."""

import numpy as np
import pytest

import tfinvert
from tfinvert.analysis.compression import (
    UNCOMPRESSED,
    compression_methods,
    keep_keypoint_fraction,
    keep_keypoints,
    make_pca_projection,
    make_quantizer,
)
from tfinvert.features.sift import occupied_cells


@pytest.fixture(scope="module")
def vectors():
    """Sparse vectors `[40, 30]` whose units have different means and deviations."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(-0.5, 1, (40, 30)) * rng.uniform(1, 4, 30), 0).astype(np.float32)


@pytest.fixture(scope="module")
def grids(photos):
    return tfinvert.features.get("sift")(photos).numpy()


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25, 0.1, 0.0])
def test_a_fraction_of_the_keypoints_is_kept_unchanged(grids, fraction):
    kept = keep_keypoint_fraction(grids, fraction, np.random.default_rng(0))
    before, after = occupied_cells(grids), occupied_cells(kept)
    assert not (after & ~before).any()
    np.testing.assert_array_equal(after.sum((1, 2)), np.round(fraction * before.sum((1, 2))))
    np.testing.assert_array_equal(kept[after], grids[after])
    np.testing.assert_array_equal(kept[~after], 0.0)


def test_kept_keypoints_are_uniform_and_depend_on_the_seed(grids):
    rng = np.random.default_rng(0)
    many = np.mean(
        [occupied_cells(keep_keypoint_fraction(grids[:1], 0.5, rng)) for _ in range(400)], 0
    )
    assert np.abs(many[occupied_cells(grids[:1])] - 0.5).max() < 0.13  # five standard deviations
    first, again, other = (
        keep_keypoint_fraction(grids, 0.5, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("bits", [8, 4])
def test_quantization_is_uniform_over_the_range_of_the_reference(vectors, bits):
    reference = vectors[:20]
    restored, size = make_quantizer(reference, bits)(vectors)
    assert size == bits * 30 / 8
    levels = np.linspace(reference.min(), reference.max(), 2**bits)
    nearest = np.abs(vectors[..., np.newaxis] - levels).argmin(-1)
    np.testing.assert_allclose(restored, levels[nearest], atol=1e-4)


def test_one_bit_is_restored_to_one_of_two_means_of_the_unit(vectors):
    reference = vectors[:20]
    restored, size = make_quantizer(reference, 1)(vectors)
    assert size == 30 / 8
    for unit in range(30):
        known, middle = reference[:, unit], reference[:, unit].mean()
        means = known[known <= middle].mean(), known[known > middle].mean()
        expected = np.where(vectors[:, unit] > middle, means[1], means[0])
        np.testing.assert_allclose(restored[:, unit], expected, rtol=1e-5)


def test_components_equal_those_of_the_singular_value_decomposition(vectors):
    reference = vectors[:20].astype(np.float64)
    restored, size = make_pca_projection(vectors[:20], 6)(vectors)
    assert size == 24
    _, _, rows = np.linalg.svd(reference - reference.mean(0))
    expected = (vectors - reference.mean(0)) @ rows[:6].T @ rows[:6] + reference.mean(0)
    np.testing.assert_allclose(restored, expected, atol=1e-4)


def test_a_number_of_keypoints_is_kept(grids):
    compress = compression_methods(grids, sparse=True)["10 keypoints"]
    restored, size = compress(grids)
    before, after = (occupied_cells(each).sum((1, 2)) for each in (grids, restored))
    np.testing.assert_array_equal(after, np.minimum(before, 10))
    assert size == pytest.approx(after.mean() * 144)
    np.testing.assert_array_equal(
        restored[occupied_cells(restored)], grids[occupied_cells(restored)]
    )


def test_methods_that_reduce_nothing_are_left_out(vectors, grids):
    assert [*compression_methods(vectors[:20], sparse=False)] == [
        UNCOMPRESSED,
        "8 bits",
        "4 bits",
        "1 bit",
        "16 components",
    ]
    few = keep_keypoints(grids, 4, np.random.default_rng(0))
    assert [*compression_methods(few, sparse=True)] == [UNCOMPRESSED]
