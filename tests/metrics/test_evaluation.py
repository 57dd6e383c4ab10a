"""Evaluation of an inverter, and the baseline of the mean image."""

import numpy as np
import pytest
import tensorflow as tf

from tfinvert import metrics
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.metrics.evaluation import (
    evaluate,
    mean_image_baseline,
    read_at_least_two,
    read_images,
)


@pytest.fixture(scope="module")
def images(photos):
    return photos[::4]


@pytest.fixture(scope="module")
def evaluation(inverter, images):
    return evaluate(inverter, images)


def test_scores_are_those_of_the_reconstructions(inverter, images, evaluation):
    np.testing.assert_array_equal(evaluation.images, images)
    np.testing.assert_allclose(evaluation.reconstructions, inverter.reconstruct(images), atol=1e-6)
    assert evaluation.metrics["normalized_error"] == pytest.approx(
        metrics.normalized_error(images, evaluation.reconstructions)
    )
    assert evaluation.metrics["images"] == len(images)
    assert evaluation.metrics["images_per_second"] > 0


def test_the_mean_image_baseline(images, evaluation):
    baseline = mean_image_baseline(evaluation, images.mean(0))
    expected = np.sqrt(((images - images.mean(0)) ** 2).sum((1, 2, 3))).mean()
    assert baseline["normalized_error"] == pytest.approx(
        expected / metrics.mean_pairwise_distance(images), rel=1e-4
    )


def test_one_image_is_rejected():
    class OneImage:
        name, evaluation_size = "one", 1

    with pytest.MonkeyPatch.context() as patch:
        batches = [tf.zeros((1, 8, 8, 3))]
        patch.setattr("tfinvert.data.pipeline.evaluation_batches", lambda *_, **__: batches)
        with pytest.raises(InputError, match="contains one image; the normalised error needs at"):
            read_at_least_two(OneImage(), (8, 8), 10)


def test_read_images_subsamples_evenly():
    source = open_source("photos")
    everything = read_images(source, (32, 48))
    assert everything.shape == (source.evaluation_size, 32, 48, 3)
    step = -(-source.evaluation_size // 10)
    np.testing.assert_array_equal(read_images(source, (32, 48), 10), everything[::step])
