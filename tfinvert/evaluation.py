"""An inverter on photographs: what it makes of them, and how near that is."""

import dataclasses
import time
from typing import Any

import numpy as np

from tfinvert import frechet, metrics
from tfinvert.choices import MAX_IMAGES
from tfinvert.data import pipeline
from tfinvert.data.sources import Source
from tfinvert.inverter import Inverter
from tfinvert.lpips import SMALLEST, lpips
from tfinvert.resize import resize_images


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Images, their reconstructions and the metrics between them.

    Attributes:
      images: `[n, *inverter.output_size, 3]` float32 in [0, 1].
      reconstructions: of the same shape.
      metrics: of `metrics.all_metrics`; `lpips` where the sides are at least 31 pixels;
        `images_per_second` of feature and network together; `frechet_distance` where asked for,
        and over how many images, `frechet_images`.
    """

    images: np.ndarray
    reconstructions: np.ndarray
    metrics: dict[str, Any]


def read_images(source: Source, size: pipeline.Size, limit: int = MAX_IMAGES) -> np.ndarray:
    """A source's evaluation images at one size, evenly spaced if there are more than `limit`.

    Returns:
      `[n, *size, 3]` float32 in [0, 1].
    """
    batches = pipeline.evaluation_batches(
        source, size, 64, every=-(-source.evaluation_size // limit)
    )
    return np.concatenate([batch.numpy() for batch in batches])


def evaluate(inverter: Inverter, images: np.ndarray, sets: bool = False) -> Evaluation:
    """Reconstructs images and scores them at the size of the network's output.

    Args:
      inverter: what is evaluated.
      images: `[n, *inverter.feature.image_shape]` in [0, 1], at least two.
      sets: whether all reconstructions are also compared with all images, by `frechet.image_sets`.
    """
    inverter.reconstruct(images[:64])  # the first call is slow, and not what the speed is about
    begin = time.perf_counter()
    reconstructions = inverter.reconstruct(images)
    seconds = time.perf_counter() - begin
    targets = resize_images(images, inverter.output_size)
    scores = _scores(targets, reconstructions)
    scores["images_per_second"] = round(len(images) / seconds, 1)
    if sets:
        distance, count = frechet.image_sets(targets, reconstructions)
        scores |= {"frechet_distance": distance, "frechet_images": count}
    return Evaluation(targets, reconstructions, scores)


def mean_image_baseline(evaluation: Evaluation, mean_image: np.ndarray) -> dict[str, Any]:
    """The metrics of a predictor that ignores its input: about 0.7 of N, whatever the images.

    Args:
      evaluation: whose images are predicted.
      mean_image: `[H, W, 3]`, of the training images, at the images' size.
    """
    predictions = np.broadcast_to(mean_image, evaluation.images.shape)
    return _scores(evaluation.images, predictions)


def _scores(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, Any]:
    scores = metrics.all_metrics(images, reconstructions)
    if min(images.shape[1:3]) >= SMALLEST:
        scores["lpips"] = lpips(images, reconstructions)
    return scores
