"""Samplers on data of known distributions."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, norm, rankdata
from sklearn.decomposition import PCA

from tfinvert.analysis.feature_samplers import (
    GaussianCopula,
    GaussianMixtureCopula,
    IndependentHistograms,
    PCAFrechetDistance,
    TruncatedGaussian,
    normal_scores,
)

ALL = [IndependentHistograms, TruncatedGaussian, GaussianCopula, GaussianMixtureCopula]
EXACT = [
    IndependentHistograms,
    GaussianCopula,
    GaussianMixtureCopula,
]  # keep the histograms exactly


@pytest.fixture(scope="module")
def layer():
    """Activations like a layer's: 40 units with 3 common causes, always active to always zero."""
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((600, 3)) @ rng.standard_normal((3, 40))
    values = causes + 0.3 * rng.standard_normal(causes.shape)
    return np.maximum(values + np.linspace(-5, 5, 40), 0).astype(np.float32)


@pytest.mark.parametrize("sampler", ALL)
def test_draws_have_the_shape_of_the_features_and_depend_on_the_seed(sampler, layer):
    grids = layer[:40].reshape(40, 2, 4, 5)
    drawn = [sampler(grids).draw(7, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert drawn[0].shape == (7, 2, 4, 5) and drawn[0].dtype == np.float32
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    flat = sampler(layer[:40]).draw(7, np.random.default_rng(3))
    np.testing.assert_array_equal(flat, drawn[0].reshape(7, 40))


@pytest.mark.parametrize("sampler", EXACT)
def test_histograms_are_matched(sampler, layer):
    drawn = sampler(layer).draw(2000, np.random.default_rng(0))
    for own, theirs in zip(drawn.T, layer.T, strict=True):
        assert np.isin(own, theirs).all()
        assert ks_2samp(own, theirs).pvalue > 1e-4
    np.testing.assert_allclose((drawn == 0).mean(0), (layer == 0).mean(0), atol=0.05)


def test_a_truncated_gaussian_has_the_zeros_and_the_mean_of_each_dimension(layer):
    drawn = TruncatedGaussian(layer).draw(20000, np.random.default_rng(0))
    assert drawn.min() == 0
    some = (layer == 0).mean(0) > 0.01
    np.testing.assert_allclose((drawn == 0).mean(0)[some], (layer == 0).mean(0)[some], atol=0.02)
    np.testing.assert_allclose(drawn.mean(0), layer.mean(0), atol=0.1)
    never = (layer == 0).all(0)
    assert never.any() and not drawn[:, never].any()


def test_a_truncated_gaussian_of_signed_features_is_a_gaussian():
    features = np.random.default_rng(0).normal([-2, 0, 3], [1, 2, 0.5], (4000, 3))
    drawn = TruncatedGaussian(features).draw(20000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(0), [-2, 0, 3], atol=0.1)
    np.testing.assert_allclose(drawn.std(0), [1, 2, 0.5], rtol=0.05)


def test_the_copula_keeps_correlations_that_independent_draws_lose(layer):
    active = (layer > 0).mean(0) > 0.2
    off = ~np.eye(active.sum(), dtype=bool)
    real = np.corrcoef(layer[:, active].T)[off]

    def error(sampler):
        drawn = sampler(layer).draw(2000, np.random.default_rng(0))
        own = np.corrcoef(drawn[:, active].T)[off]
        return np.abs(own - real).mean(), np.abs(own).mean()

    assert np.abs(real).mean() > 0.4
    difference, strength = error(IndependentHistograms)
    assert difference > 0.4 and strength < 0.03
    for sampler in (GaussianCopula, GaussianMixtureCopula):
        assert error(sampler)[0] < 0.1


@pytest.mark.parametrize(("share", "dimensions"), [(0.0, 30), (0.3, 12), (0.6, 40)])
def test_ranking_equal_values_by_the_model_recovers_correlations(share, dimensions):
    rng = np.random.default_rng(0)
    own = rng.standard_normal((2000, dimensions))
    values = np.sqrt(share) * rng.standard_normal((2000, 1)) + np.sqrt(1 - share) * own
    sparse = np.maximum(values - 1, 0)  # five of six are zero
    off = ~np.eye(dimensions, dtype=bool)
    real = np.corrcoef(sparse.T)[off].mean()

    def difference(**rounds):
        drawn = GaussianCopula(sparse, **rounds).draw(4000, np.random.default_rng(1))
        return np.corrcoef(drawn.T)[off].mean() - real

    if share:
        assert difference(rounds=0) < -0.75 * real
        assert abs(difference()) < 0.6 * abs(difference(rounds=0))
    else:
        assert abs(difference()) < 0.01


def test_a_mixture_is_recovered_without_pairwise_correlations():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], (800, 2))
    signs = np.column_stack([signs, signs.prod(1)])  # of three, any two are independent
    features = 1.5 * signs + 0.8 * rng.standard_normal(signs.shape)

    def parity(drawn):
        return (np.sign(drawn).prod(1) > 0).mean()

    assert parity(features) > 0.9
    drawn = GaussianMixtureCopula(features, clusters=16).draw(2000, np.random.default_rng(1))
    assert parity(drawn) > 0.75
    right = np.sign(drawn[np.sign(drawn).prod(1) > 0])
    patterns, counts = np.unique(right, axis=0, return_counts=True)
    assert len(patterns) == 4 and counts.min() > 300
    one = GaussianCopula(features).draw(2000, np.random.default_rng(1))
    assert abs(parity(one) - 0.5) < 0.05


def test_samplers_fit_few_images():
    features = np.maximum(np.random.default_rng(0).standard_normal((8, 50)), 0)
    for sampler in ALL:
        drawn = sampler(features).draw(8, np.random.default_rng(0))
        assert np.isfinite(drawn).all() and drawn.min() >= 0


def test_normal_scores_of_ranks_with_ties_in_the_given_order():
    features = np.array([[3.0, 0], [1, 0], [2, 5], [9, 0]])
    tie_order = np.array([[0.0, 0.3], [0, 0.1], [0, 0.0], [0, 0.2]])
    ranks = np.column_stack([rankdata(features[:, 0]), [3, 1, 4, 2]])
    expected = norm.ppf((ranks - 0.5) / 4)
    expected /= expected.std(0, ddof=1)
    np.testing.assert_allclose(normal_scores(features, tie_order), expected, rtol=1e-6)


def test_the_frechet_distance_is_along_a_quarter_as_many_components_as_images():
    features = np.random.default_rng(0).standard_normal((40, 3, 4, 5))
    metric = PCAFrechetDistance(features)
    assert metric.dimensions == 10
    assert metric.distance(features) == pytest.approx(0, abs=1e-9)
    # Moved along the first component by one unit: the distance is 1.
    first = PCA(1).fit(features.reshape(40, -1)).components_[0]
    assert metric.distance(features + first.reshape(3, 4, 5)) == pytest.approx(1, rel=1e-5)
