"""Normalised error, PSNR and SSIM against loops and scikit-image."""

import json
import tracemalloc

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tfinvert import InputError, metrics


def random_images(count, height=6, width=5, seed=0):
    return np.random.default_rng(seed).random((count, height, width, 3)).astype(np.float32)


def pairwise_by_loop(images):
    images = np.asarray(images, np.float64)
    distances = [
        np.linalg.norm(images[i] - images[j]) for i in range(len(images)) for j in range(i)
    ]
    return np.mean(distances)


def pairwise_by_rows(images):
    rows = np.asarray(images, np.float64).reshape(len(images), -1)
    total = sum(np.sqrt(((rows - row) ** 2).sum(1)).sum() for row in rows)
    return total / (len(rows) * (len(rows) - 1))


@pytest.mark.parametrize("count", [2, 3, 20])
def test_mean_pairwise_distance_is_that_of_a_loop(count):
    images = random_images(count)
    expected = pairwise_by_loop(images)
    assert metrics.mean_pairwise_distance(images) == pytest.approx(expected, rel=1e-5)
    assert pairwise_by_rows(images) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [511, 512, 513, 1100])
def test_mean_pairwise_distance_over_several_blocks(count):
    images = random_images(count)
    expected = pairwise_by_rows(images)
    assert metrics.mean_pairwise_distance(images) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("noise", [1e-2, 1e-4])
def test_mean_pairwise_distance_of_near_identical_images(noise):
    images = 0.7 + noise * random_images(600)
    expected = pairwise_by_rows(images)
    assert metrics.mean_pairwise_distance(images) == pytest.approx(expected, rel=1e-4)


def test_mean_pairwise_distance_of_identical_images_is_0():
    assert metrics.mean_pairwise_distance(np.full((5, 4, 4, 3), 0.3, np.float32)) < 1e-6


def test_mean_pairwise_distance_of_images_of_any_scale_and_type():
    images = (random_images(9) * 255).astype(np.uint8)
    expected = pairwise_by_loop(images)
    assert metrics.mean_pairwise_distance(images) == pytest.approx(expected, rel=1e-5)


def test_many_images_are_subsampled_evenly():
    images = random_images(101)
    assert metrics.mean_pairwise_distance(images, 11) == pytest.approx(
        pairwise_by_loop(images[::10]), rel=1e-5
    )
    assert metrics.mean_pairwise_distance(images, 101) == metrics.mean_pairwise_distance(images)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_pairs(count):
    with pytest.raises(ValueError, match=f"at least two images. Received: {count}"):
        metrics.mean_pairwise_distance(random_images(count))


def test_pairing_makes_no_array_of_images_by_images_by_pixels():
    images = random_images(600, 32, 32)  # 7 MB; all differences would be 4.4 GB
    tracemalloc.start()
    try:
        metrics.mean_pairwise_distance(images)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_the_images_are_not_modified():
    images, others = random_images(3, 12, 12), random_images(3, 12, 12, seed=1)
    before = images.copy(), others.copy()
    metrics.compute_metrics(images, others)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(others, before[1])


def test_normalized_error_is_that_of_a_loop():
    images, others = random_images(7), random_images(7, seed=1)
    distances = [np.linalg.norm((a - b).ravel()) for a, b in zip(images, others, strict=True)]
    np.testing.assert_allclose(metrics.per_image_distance(images, others), distances, rtol=1e-5)
    expected = np.mean(distances) / pairwise_by_loop(images)
    assert metrics.normalized_error(images, others) == pytest.approx(expected, rel=1e-5)
    assert metrics.normalized_error(images, others, 2.0) == pytest.approx(
        np.mean(distances) / 2, rel=1e-5
    )
    assert metrics.normalized_error(images, images) == 0


def test_the_mean_image_scores_one_over_root_two():
    images = random_images(300, 16, 16)
    mean = np.broadcast_to(images.mean(0), images.shape)
    assert metrics.normalized_error(images, mean) == pytest.approx(1 / np.sqrt(2), abs=0.005)


def test_another_image_scores_one():
    images = random_images(300, 16, 16)
    assert metrics.normalized_error(images, np.roll(images, 1, 0)) == pytest.approx(1, abs=0.01)


def near(images, seed=1):
    noise = np.random.default_rng(seed).normal(0, 0.1, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def test_psnr():
    images = random_images(5, 16, 16)
    others = near(images)
    squared = np.square(images.astype(np.float64) - others).mean((1, 2, 3))
    assert metrics.psnr(images, others) == pytest.approx(np.mean(-10 * np.log10(squared)), abs=1e-3)
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(images, others, strict=True)
    ]
    assert metrics.psnr(images, others) == pytest.approx(np.mean(expected), abs=1e-3)


@pytest.mark.parametrize("shape", [(11, 11), (32, 24)])
def test_ssim(shape):
    images = random_images(4, *shape)
    images[0] *= np.linspace(0, 1, shape[1])[:, np.newaxis]
    others = near(images)
    margin = 5  # scikit-image's map reaches over the edge; its mean leaves the margin out
    expected = [
        structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
            full=True,
        )[1][margin : shape[0] - margin, margin : shape[1] - margin].mean()
        for a, b in zip(images, others, strict=True)
    ]
    assert metrics.ssim(images, others) == pytest.approx(np.mean(expected), abs=1e-3)


def test_perfect_reconstructions():
    images = random_images(3, 16, 16)
    assert metrics.ssim(images, images) == pytest.approx(1)
    assert metrics.psnr(images, images) == np.inf


def test_the_mean_is_over_all_batches():
    images = random_images(300, 11, 11)
    others = near(images)
    by_parts = (256 * metrics.psnr(images[:256], others[:256])) + 44 * metrics.psnr(
        images[256:], others[256:]
    )
    assert metrics.psnr(images, others) == pytest.approx(by_parts / 300, rel=1e-5)


def test_metrics_are_json():
    images = random_images(6, 16, 16)
    others = near(images)
    scores = metrics.compute_metrics(images, others)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores == {
        "normalized_error": metrics.normalized_error(images, others),
        "psnr_db": metrics.psnr(images, others),
        "ssim": metrics.ssim(images, others),
        "mean_pairwise_distance": metrics.mean_pairwise_distance(images),
        "images": 6,
    }


def test_images_smaller_than_its_window_have_no_ssim():
    images = random_images(3, 10, 16)
    scores = metrics.compute_metrics(images, near(images))
    assert "ssim" not in scores and scores["psnr_db"] > 0


def test_identical_images_have_no_scale():
    images = np.full((3, 16, 16, 3), 0.5, np.float32)
    with pytest.raises(InputError, match="the 3 images are identical"):
        metrics.normalized_error(images, images)
