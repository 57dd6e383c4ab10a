"""Features perturbed: norms, patterns and counts, against plain loops and statistics."""

import numpy as np
import pytest

from tfinvert.analysis.perturbations import add_noise, binarize, dropout, keep_largest


@pytest.fixture(scope="module")
def sparse():
    """Grids of both signs, two thirds zero, the last all zero: `[6, 3, 3, 20]`."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3, 3, 20)) * (rng.random((6, 3, 3, 20)) < 1 / 3)
    values[-1] = 0.0
    return values.astype(np.float32)


def norms(features):
    return np.linalg.norm(features.reshape(len(features), -1), axis=1)


CHANGES = {
    "binarize": binarize,
    "dropout": lambda features: dropout(features, np.random.default_rng(1)),
    "keep_largest": keep_largest,
    "both": lambda features: binarize(keep_largest(features)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_norms_stay_and_zeros_stay(sparse, change):
    before = sparse.copy()
    changed = change(sparse)
    np.testing.assert_allclose(norms(changed), norms(sparse), rtol=1e-5)
    assert not changed[sparse == 0].any() and not changed[-1].any()
    assert changed.shape == sparse.shape and changed.dtype == np.float32
    np.testing.assert_array_equal(sparse, before)


def test_binarising_keeps_signs_and_one_magnitude():
    np.testing.assert_allclose(
        binarize(np.float32([[3, 0, -4, 0]])), [[12.5**0.5, 0, -(12.5**0.5), 0]]
    )


def test_binarising_keeps_the_pattern(sparse):
    binary = binarize(sparse)
    np.testing.assert_array_equal(np.sign(binary), np.sign(sparse))
    for feature in np.abs(binary[:-1]):
        np.testing.assert_allclose(feature[feature > 0], feature.max(), rtol=1e-6)


def test_dropout_keeps_entries_in_proportion(sparse):
    changed = dropout(sparse, np.random.default_rng(2))
    for before, after in zip(sparse[:-1], changed[:-1], strict=True):
        ratio = after[after != 0] / before[after != 0]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
        assert ratio[0] > 1


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_dropout_zeroes_at_its_rate(rate):
    changed = dropout(np.ones((4, 50000), np.float32), np.random.default_rng(3), rate)
    np.testing.assert_allclose((changed == 0).mean(1), rate, atol=0.01)


def test_dropout_of_everything_is_zero():
    assert not dropout(np.ones((2, 5), np.float32), np.random.default_rng(0), 1.0).any()


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.25])
def test_the_smallest_are_zeroed_as_a_loop_does(sparse, fraction):
    changed = keep_largest(sparse, fraction)
    for before, after in zip(sparse.reshape(6, -1), changed.reshape(6, -1), strict=True):
        alive = sorted(np.flatnonzero(before), key=lambda i: abs(before[i]))
        zeroed = alive[: int(np.floor(round((1 - fraction) * len(alive), 9)))]
        expected = before.copy()
        expected[zeroed] = 0
        np.testing.assert_array_equal(after != 0, expected != 0)


def test_exactly_half_is_zeroed_and_the_first_of_equals_kept():
    nine = np.ones((1, 12), np.float32)
    nine[0, [2, 5, 8]] = 0
    kept = np.flatnonzero(keep_largest(nine))
    np.testing.assert_array_equal(kept, [0, 1, 3, 4, 6])
    np.testing.assert_allclose(
        keep_largest(np.float32([[1, -3, 2, -4]])), np.float32([[0, -3, 0, -4]]) * 1.2**0.5
    )


def test_a_tenth_of_ten_is_one():
    assert np.count_nonzero(keep_largest(np.ones((1, 10), np.float32), 0.9)) == 9


@pytest.mark.parametrize("level", [0.1, 1.0])
def test_noise_has_its_level_of_each_norm(level):
    rng = np.random.default_rng(4)
    features = rng.normal(size=(8, 10, 1000)).astype(np.float32) * np.arange(8)[:, None, None]
    noise = add_noise(features, rng, level).astype(np.float64) - features
    np.testing.assert_allclose(norms(noise), level * norms(features), rtol=0.03)
    assert not noise[0].any()
    standard = noise[1:].ravel() / noise[1:].std((1, 2)).repeat(10000)
    assert abs(np.mean(standard)) < 0.02 and abs(np.mean(standard**4) - 3) < 0.1


def test_the_same_draws_give_the_same(sparse):
    for change in (dropout, lambda x, rng: add_noise(x, rng, 0.5)):
        once, again = (change(sparse, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert (once != change(sparse, np.random.default_rng(6))).any()
