"""Evaluation of an inverter on a source, and what the mean image scores there."""

import numpy as np
import pytest

from tfinvert import metrics
from tfinvert.data.open_source import open_source
from tfinvert.metrics.evaluation import evaluate, mean_image_baseline, read_images


def test_scores_are_those_of_the_reconstructions(inverter, photos):
    evaluation = evaluate(inverter, photos)
    np.testing.assert_array_equal(evaluation.images, photos)
    np.testing.assert_allclose(evaluation.reconstructions, inverter.reconstruct(photos), atol=1e-6)
    assert evaluation.metrics["normalized_error"] == pytest.approx(
        metrics.normalized_error(photos, evaluation.reconstructions)
    )
    assert evaluation.metrics["images"] == len(photos)
    assert evaluation.metrics["images_per_second"] > 0


def test_the_mean_image_of_the_same_images(inverter, photos):
    evaluation = evaluate(inverter, photos)
    baseline = mean_image_baseline(evaluation, photos.mean(0))
    expected = np.sqrt(((photos - photos.mean(0)) ** 2).sum((1, 2, 3))).mean()
    assert baseline["normalized_error"] == pytest.approx(
        expected / metrics.mean_pairwise_distance(photos), rel=1e-4
    )


def test_read_images_takes_evenly_spaced_ones():
    source = open_source("photos")
    everything = read_images(source, (32, 48))
    assert everything.shape == (source.evaluation_size, 32, 48, 3)
    step = -(-source.evaluation_size // 10)
    np.testing.assert_array_equal(read_images(source, (32, 48), 10), everything[::step])
