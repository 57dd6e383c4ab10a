"""An inverter on photographs: what it makes of them, and how near that is."""

import dataclasses
import time
from typing import Any

import numpy as np

from tfinvert import metrics
from tfinvert.common.images import resize_images
from tfinvert.config.choices import MAX_IMAGES
from tfinvert.data import pipeline
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.metrics import frechet
from tfinvert.metrics.lpips import MIN_SIDE, lpips
from tfinvert.networks.uncertainty import COLOR_AXES, COLOR_AXIS_NAMES, rgb_std

COVERAGE_KEY = "within_one_deviation"
MAX_SAMPLED_IMAGES = 64  # images that samples are drawn of, to be measured
_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Images, their reconstructions and the metrics between them.

    Attributes:
      images: `[n, *inverter.output_size, 3]` float32 in [0, 1].
      reconstructions: of the same shape.
      metrics: of `metrics.compute_metrics`; `lpips` where the sides are at least 31 pixels;
        `images_per_second` of feature and network together; `frechet_distance` where asked for,
        and over how many images, `frechet_images`. Of an inverter with a spread also the share of
        the differences `within_one_deviation`, of red, green and blue, and of each axis.
      deviations: of each pixel, as `Inverter.uncertainty` gives them, or None.
    """

    images: np.ndarray
    reconstructions: np.ndarray
    metrics: dict[str, Any]
    deviations: np.ndarray | None = None


def read_images(source: Source, size: pipeline.Size, limit: int = MAX_IMAGES) -> np.ndarray:
    """A source's evaluation images at one size, evenly spaced if there are more than `limit`.

    Returns:
      `[n, *size, 3]` float32 in [0, 1].
    """
    batches = pipeline.evaluation_batches(
        source, size, 64, every=-(-source.evaluation_size // limit)
    )
    return np.concatenate([batch.numpy() for batch in batches])


def read_at_least_two(source: Source, size: pipeline.Size, limit: int) -> np.ndarray:
    """As `read_images`, and at least two.

    Raises:
      InputError: there is only one.
    """
    images = read_images(source, size, limit)
    if len(images) < 2:
        raise InputError(f"{source.name} has one image; errors are relative to pairs of images")
    return images


def evaluate(inverter: Inverter, images: np.ndarray, sets: bool = False) -> Evaluation:
    """Reconstructs images and scores them at the size of the network's output.

    Args:
      inverter: what is evaluated.
      images: `[n, *inverter.feature.image_shape]` in [0, 1], at least two.
      sets: whether all reconstructions are also compared with all images, by `frechet.image_set_distance`.
    """
    inverter.reconstruct(images[:64])  # the first call is slow, and not what the speed is about
    begin = time.perf_counter()
    reconstructions = inverter.reconstruct(images)
    seconds = time.perf_counter() - begin
    targets = resize_images(images, inverter.output_size)
    scores = _scores(targets, reconstructions)
    scores["images_per_second"] = round(len(images) / seconds, 1)
    if sets:
        distance, count = frechet.image_set_distance(targets, reconstructions)
        scores |= {"frechet_distance": distance, "frechet_images": count}
    deviations = None
    if inverter.spread:
        deviations, shares = _spread(inverter, images, reconstructions - targets)
        scores |= shares
    return Evaluation(targets, reconstructions, scores, deviations)


def evaluate_samples(
    inverter: Inverter, images: np.ndarray, n: int = 8, seed: int = 0
) -> dict[str, Any]:
    """How the samples of an inverter lie about its reconstructions, of some images.

    Errors are normalised, of features too: the mean distance by the mean distance of all pairs.

    Args:
      inverter: one that draws.
      images: `[m, *inverter.feature.image_shape]` in [0, 1], at least two.
      n: samples of each.
      seed: of them.

    Returns:
      `sample_error` of a sample, `mean_of_samples_error` of the mean of all n of an image, and
      `reconstruction_error` of the network's image, which that mean approaches as n grows;
      `sample_feature_error` and `reconstruction_feature_error`, how far their features are from
      those given; `deviation`, of samples about their mean, and `residual`, of the images about
      the reconstructions, both root mean squares in [0, 1].
    """
    features = inverter.encode(images)
    rebuilt = inverter.invert(features)
    samples = inverter.sample(features, n, seed=seed)
    scale = metrics.mean_pairwise_distance(images)
    feature_scale = metrics.mean_pairwise_distance(features)

    def feature_error(drawn: np.ndarray) -> float:
        return metrics.normalized_error(features, inverter.encode(drawn), feature_scale)

    each = [samples[:, k] for k in range(n)]
    deviation = float(np.sqrt(samples.var(1, ddof=1).mean())) if n > 1 else 0.0
    return {
        "sample_error": float(
            np.mean([metrics.normalized_error(images, one, scale) for one in each])
        ),
        "mean_of_samples_error": metrics.normalized_error(images, samples.mean(1), scale),
        "reconstruction_error": metrics.normalized_error(images, rebuilt, scale),
        "sample_feature_error": float(np.mean([feature_error(one) for one in each])),
        "reconstruction_feature_error": feature_error(rebuilt),
        "deviation": deviation,
        "residual": float(np.sqrt(np.square(images - rebuilt).mean())),
        "samples": n,
        "images": len(images),
    }


def mean_image_baseline(evaluation: Evaluation, mean_image: np.ndarray) -> dict[str, Any]:
    """The metrics of a predictor that ignores its input: about 0.7 of N, whatever the images.

    Args:
      evaluation: whose images are predicted.
      mean_image: `[H, W, 3]`, of the training images, at the images' size.
    """
    predictions = np.broadcast_to(mean_image, evaluation.images.shape)
    return _scores(evaluation.images, predictions)


def _spread(
    inverter: Inverter, images: np.ndarray, differences: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Deviations of red, green and blue; shares within one, of these and by axis."""
    deviations = np.empty(differences.shape, np.float32)
    shares = np.zeros((len(images), 1 + len(COLOR_AXES)))
    for begin in range(0, len(images), _AT_ONCE):  # a few, since there may be gigabytes of them
        part = slice(begin, begin + _AT_ONCE)
        along_axes = inverter.uncertainty(inverter.encode(images[part]), along="axes")
        deviations[part] = rgb_std(along_axes)
        off = np.abs(differences[part]), np.abs(differences[part] @ COLOR_AXES.T)
        shares[part, 0] = (off[0] <= deviations[part]).mean((1, 2, 3))
        shares[part, 1:] = (off[1] <= along_axes).mean((1, 2))
    names = COVERAGE_KEY, *(f"{COVERAGE_KEY}_{name.replace('-', '_')}" for name in COLOR_AXIS_NAMES)
    return deviations, dict(zip(names, shares.mean(0).tolist(), strict=True))


def _scores(images: np.ndarray, reconstructions: np.ndarray) -> dict[str, Any]:
    scores = metrics.compute_metrics(images, reconstructions)
    if min(images.shape[1:3]) >= MIN_SIDE:
        scores["lpips"] = lpips(images, reconstructions)
    return scores
