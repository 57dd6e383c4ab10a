"""Evaluates an inverter on photographs: reconstructions, samples and predicted uncertainty."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinvert.common.images import resize_images
from tfinvert.config.choices import MAX_IMAGES
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.metrics import frechet, reconstruction
from tfinvert.metrics.lpips import MIN_SIDE, lpips
from tfinvert.networks.uncertainty import COLOR_AXES, COLOR_AXIS_NAMES, rgb_std

if TYPE_CHECKING:
    from tfinvert.data.sources import Source

COVERAGE_KEY = "within_one_deviation"
MAX_SAMPLED_IMAGES = 64  # images that samples are evaluated on
_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Images, their reconstructions and the metrics between them.

    Attributes:
      images: `[n, *inverter.output_size, 3]` float32 in [0, 1].
      reconstructions: `[n, *inverter.output_size, 3]`.
      metrics: those of `metrics.compute_metrics`; `lpips` if the sides have at least 31 pixels;
        `images_per_second` of feature and network together; `frechet_distance` and its number of
        images, `frechet_images`, if requested. An inverter with an uncertainty head adds its
        coverage: the share of differences `within_one_deviation`, over red, green and blue, and for
        each colour axis.
      deviations: standard deviation of each pixel, as `Inverter.uncertainty` predicts it, or None.
    """

    images: np.ndarray
    reconstructions: np.ndarray
    metrics: dict[str, Any]
    deviations: np.ndarray | None = None


def read_images(source: Source, size: tuple[int, int], limit: int = MAX_IMAGES) -> np.ndarray:
    """Reads the evaluation images of a source at one size, subsampled evenly to at most `limit`.

    Returns:
      `[n, *size, 3]` float32 in [0, 1].
    """
    from tfinvert.data import pipeline  # needs TensorFlow

    every = subsampling_stride(source, limit)
    batches = pipeline.evaluation_batches(source, size, _BATCH_SIZE, every)
    return np.concatenate([batch.numpy() for batch in batches])


def subsampling_stride(source: Source, limit: int) -> int:
    """Returns n if `read_images` reads every n-th image of a source."""
    return -(-source.evaluation_size // limit)


def read_at_least_two(source: Source, size: tuple[int, int], limit: int) -> np.ndarray:
    """Reads images, as `read_images`, for metrics that are relative to pairs of images.

    Raises:
      InputError: the source contains one image.
    """
    images = read_images(source, size, limit)
    if len(images) < 2:
        raise InputError(
            f"{source.name} contains one image; the normalised error needs at least two"
        )
    return images


def evaluate(inverter: Inverter, images: np.ndarray, frechet_distance: bool = False) -> Evaluation:
    """Reconstructs images and computes metrics at the size of the network's output.

    Args:
      inverter: the inverter to evaluate.
      images: `[n, *inverter.feature.image_shape]` in [0, 1], at least two.
      frechet_distance: whether to compute the Fréchet distance between images and reconstructions
        too.
    """
    inverter.reconstruct(images[:_BATCH_SIZE])  # warm-up: the first call traces the graph
    begin = time.perf_counter()
    reconstructions = inverter.reconstruct(images)
    seconds = time.perf_counter() - begin
    targets = resize_images(images, inverter.output_size)
    scores = score_reconstructions(targets, reconstructions)
    scores["images_per_second"] = round(len(images) / seconds, 1)
    if frechet_distance:
        distance, count = frechet.image_set_distance(targets, reconstructions)
        scores |= {"frechet_distance": distance, "frechet_images": count}
    deviations = None
    if inverter.uncertainty_head:
        deviations, coverage = _evaluate_uncertainty(inverter, images, reconstructions - targets)
        scores |= coverage
    return Evaluation(targets, reconstructions, scores, deviations)


def evaluate_samples(
    inverter: Inverter, images: np.ndarray, n: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Evaluates the samples that an inverter draws around its reconstructions.

    All errors are normalised, those of features too: mean distance divided by the mean pairwise
    distance.

    Args:
      inverter: an inverter that can sample.
      images: `[m, *inverter.feature.image_shape]` in [0, 1], at least two.
      n: number of samples per image.
      seed: random seed of the samples.

    Returns:
      `sample_error` of a sample, `mean_of_samples_error` of the mean of an image's n samples and
      `reconstruction_error` of its reconstruction, which that mean approaches as n grows;
      `sample_feature_error` and `reconstruction_feature_error`, between their features and the
      given ones; `deviation` of samples from their mean and `residual` of images from
      reconstructions, both root mean squares in [0, 1]; `samples` (n) and `images` (m).
    """
    features = inverter.encode(images)
    reconstructions = inverter.invert(features)
    samples = inverter.sample(features, n, seed=seed)
    scale = reconstruction.mean_pairwise_distance(images)
    feature_scale = reconstruction.mean_pairwise_distance(features)

    def image_error(predictions: np.ndarray) -> float:
        return reconstruction.normalized_error(images, predictions, scale)

    def feature_error(predictions: np.ndarray) -> float:
        encoded = inverter.encode(predictions)
        return reconstruction.normalized_error(features, encoded, feature_scale)

    draws = [samples[:, k] for k in range(n)]
    deviation = float(np.sqrt(samples.var(1, ddof=1).mean())) if n > 1 else 0.0
    return {
        "sample_error": float(np.mean([image_error(draw) for draw in draws])),
        "mean_of_samples_error": image_error(samples.mean(1)),
        "reconstruction_error": image_error(reconstructions),
        "sample_feature_error": float(np.mean([feature_error(draw) for draw in draws])),
        "reconstruction_feature_error": feature_error(reconstructions),
        "deviation": deviation,
        "residual": float(np.sqrt(np.square(images - reconstructions).mean())),
        "samples": n,
        "images": len(images),
    }


def mean_image_baseline(evaluation: Evaluation, mean_image: np.ndarray) -> dict[str, Any]:
    """Computes the metrics of a predictor that ignores its input, about 0.7 of N for any images.

    Args:
      evaluation: provides the images.
      mean_image: `[H, W, 3]`, the mean of the training images at the images' size.
    """
    predictions = np.broadcast_to(mean_image, evaluation.images.shape)
    return score_reconstructions(evaluation.images, predictions)


def _evaluate_uncertainty(
    inverter: Inverter, images: np.ndarray, differences: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Predicts RGB standard deviations, and measures their coverage and that of each axis."""
    deviations = np.empty(differences.shape, np.float32)
    shares = np.zeros((len(images), 1 + len(COLOR_AXES)))
    for begin in range(0, len(images), _BATCH_SIZE):  # in batches, since all could take gigabytes
        batch = slice(begin, begin + _BATCH_SIZE)
        axis_std = inverter.uncertainty(inverter.encode(images[batch]), along="axes")
        deviations[batch] = rgb_std(axis_std)
        rgb_error = np.abs(differences[batch])
        axis_error = np.abs(differences[batch] @ COLOR_AXES.T)
        shares[batch, 0] = (rgb_error <= deviations[batch]).mean((1, 2, 3))
        shares[batch, 1:] = (axis_error <= axis_std).mean((1, 2))
    axes = (name.replace("-", "_") for name in COLOR_AXIS_NAMES)
    names = COVERAGE_KEY, *(f"{COVERAGE_KEY}_{axis}" for axis in axes)
    return deviations, dict(zip(names, shares.mean(0).tolist(), strict=True))


def score_reconstructions(
    images: np.ndarray, reconstructions: np.ndarray, with_lpips: bool = True
) -> dict[str, Any]:
    """Computes every metric that is defined at the images' size.

    Args:
      images: `[n, H, W, 3]` in [0, 1], at least two.
      reconstructions: `[n, H, W, 3]`.
      with_lpips: whether to compute LPIPS, the slowest of them.

    Returns:
      Those of `metrics.compute_metrics`, and `lpips` if the sides have at least 31 pixels.
    """
    scores = reconstruction.compute_metrics(images, reconstructions)
    if with_lpips and min(images.shape[1:3]) >= MIN_SIDE:
        scores["lpips"] = lpips(images, reconstructions)
    return scores
