"""The Fréchet distance against closed forms, and between image sets."""

import numpy as np
import pytest
import scipy.linalg

from tfinvert import features
from tfinvert.metrics.frechet import frechet_distance, image_set_distance


def test_frechet_distance_of_commuting_covariances_has_a_closed_form():
    rng = np.random.default_rng(0)
    white = rng.standard_normal((500, 5))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    first, second = np.array([1, 2, 3, 4, 5.0]), np.array([2, 2, 0.5, 1, 0])
    a, b = white * first @ turn + 1.0, white[:, ::-1] * second @ turn
    expected = 5.0 + np.square(first - second).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(20)


@pytest.mark.parametrize(("n", "m", "dimensions"), [(60, 40, 6), (9, 7, 12), (30, 5, 12)])
def test_frechet_distance_equals_that_from_the_root_of_the_product(n, m, dimensions):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, dimensions)) @ rng.standard_normal((dimensions, dimensions))
    b = 2.0 + rng.standard_normal((m, dimensions))
    # The eigenvalues of a product of two positive semidefinite matrices are not negative.
    values = scipy.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real
    root = np.sqrt(np.maximum(values, 0)).sum()
    expected = (
        np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * root
    )
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_image_sets_are_compared_by_spatial_means_of_fire9(photos):
    images = photos[:6]
    others = np.roll(images[:4], 5, axis=2) * np.float32(0.8)
    layer = features.get("squeezenet/fire9", image_shape=images.shape[1:])
    pooled = [layer(x).numpy().reshape(len(x), -1, 512).mean(1) for x in (images, others)]
    found = image_set_distance(images, others)
    assert found.images == 4
    assert found.distance == pytest.approx(frechet_distance(*pooled), rel=1e-4)
    assert image_set_distance(images, images[::-1]).distance == pytest.approx(0, abs=1e-3)
