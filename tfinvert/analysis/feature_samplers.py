"""Feature samplers: the paper's independent draws, and joint models, evaluated by Fréchet distance.

The units of a layer are active together; draws from each unit's own histogram (section 5 of the
paper) lose this dependence. The joint models keep the histograms and model the dependence too: a
Gaussian copula of few factors, and a mixture of Gaussians of the same factors.
"""

import abc
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import sklearn.exceptions
from scipy.special import ndtr, ndtri
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from tfinvert.analysis.scores import image_contrast, mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.inverter import Inverter
from tfinvert.metrics.frechet import frechet_distance

REAL = "real features"
INDEPENDENT, TRUNCATED = "independent histograms", "truncated Gaussians"
COPULA, MIXTURE = "Gaussian copula", "mixture of Gaussians"
JOINT = (COPULA, MIXTURE)
DISTANCES = ("frechet_distance", "image_frechet_distance")
NUM_EXAMPLES = 8
_MIN_NOISE = 1e-3
_MIN_POINTS_PER_CLUSTER = 16  # with fewer, a cluster's variances are those of its accidental points
_MAX_COMPONENTS = 128


class Sampler(abc.ABC):
    """A model of the distribution of features, fitted on `[n, ...]`."""

    def __init__(self, features: np.ndarray):
        self._shape = features.shape[1:]
        self._fit(np.asarray(features, np.float32).reshape(len(features), -1))

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws new features: `[count, ...]`, float32, of the shape of those it was fitted on."""
        return self._draw(count, rng).astype(np.float32).reshape(count, *self._shape)

    @abc.abstractmethod
    def _fit(self, features: np.ndarray) -> None:
        """Fits on `[n, dimensions]`."""

    @abc.abstractmethod
    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws `[count, dimensions]`."""


class IndependentHistograms(Sampler):
    """Draws each dimension from its own values, independently of the others, as in the paper."""

    def _fit(self, features: np.ndarray) -> None:
        self._features = features

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.integers(len(self._features), size=(count, self._features.shape[1]))
        return np.take_along_axis(self._features, chosen, 0)


class TruncatedGaussian(Sampler):
    """Draws each dimension from max(0, N(μ, σ)) with its own fraction of zeros and its own mean.

    A dimension that was never zero is a Gaussian with its own mean and deviation, truncated at 0.
    If a feature has negative values, all of its dimensions are plain Gaussians.
    """

    def _fit(self, features: np.ndarray) -> None:
        mean = features.mean(0, dtype=np.float64)
        deviation = features.std(0, dtype=np.float64)
        self._minimum = -np.inf if features.min() < 0 else 0.0
        zeros = (features == 0).mean(0)
        truncated = (zeros > 0) & (zeros < 1) & (self._minimum == 0)
        # With a = μ/σ: P(0) = Φ(-a), and the mean is σ (φ(a) + a Φ(a)).
        a = -ndtri(np.where(truncated, zeros, 0.5))
        scale = mean / (scipy.stats.norm.pdf(a) + a * ndtr(a))
        self._scale = np.where(truncated, scale, deviation)
        self._location = np.where(truncated, a * scale, mean)

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((count, len(self._location)))
        return np.maximum(self._location + self._scale * noise, self._minimum)


class GaussianMixtureCopula(Sampler):
    """A mixture of Gaussians in the space of normal scores, with each dimension's own histogram.

    Each dimension is replaced by the normal scores of its ranks, as in a Gaussian copula. Their
    principal components are modelled by Gaussians with diagonal covariance; the remainder of each
    score's variance of 1 is independent noise. A draw is mapped back through the model's own
    distribution function and the quantiles of each dimension, so that its histogram, including
    zeros, is matched.

    Equal values, such as the many zeros of a sparse layer, are first ranked at random, which
    dilutes the dependence. In each further round they are ranked by a draw from the model itself,
    given all scores (the extended rank likelihood of Hoff 2007).

    Args:
      features: `[n, ...]`.
      components: maximum number of principal components; at most n/2.
      clusters: maximum number of Gaussians; at most n/16.
      rounds: number of times equal values are ranked again.
      seed: random seed of the ranks of equal values and of the fit.
    """

    def __init__(
        self,
        features: np.ndarray,
        *,
        components: int = 64,
        clusters: int = 8,
        rounds: int = 3,
        seed: int = 0,
    ):
        self._components, self._clusters = components, clusters
        self._rounds, self._seed = rounds, seed
        super().__init__(features)

    def _fit(self, features: np.ndarray) -> None:
        rng = np.random.default_rng(self._seed)
        scores = normal_scores(features, rng.random(features.shape, np.float32))
        for _ in range(self._rounds):
            self._fit_factors(scores, common=True)
            scores = normal_scores(features, self._draw_scores(scores, rng))
        self._fit_factors(scores)
        self._quantiles = np.sort(features, 0)
        self._fit_clusters(scores)

    def _fit_factors(self, scores: np.ndarray, common: bool = False) -> None:
        """Sets the loadings `[k, dimensions]` of k factors of variance 1, and the noise variances.

        With `common`, components lose the variance that noise alone would give them, as in
        probabilistic PCA (Tipping & Bishop 1999), so that rounds do not amplify chance.
        """
        count, dimensions = scores.shape
        most = min(self._components, count // 2, dimensions // 2 if common else dimensions)
        pca = PCA(max(1, most), random_state=self._seed).fit(scores)
        variance = pca.explained_variance_ - (pca.noise_variance_ if common else 0.0)
        deviation = np.sqrt(np.maximum(variance, 1e-12))[:, np.newaxis]
        self._to_factors = (pca.components_ / deviation).T
        self._loadings = pca.components_ * deviation
        self._noise_variance = np.clip(1.0 - np.square(self._loadings).sum(0), 0.0, 1.0)

    def _draw_scores(self, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws scores from the Gaussian model, given factors that are drawn given `scores`."""
        noise = np.maximum(self._noise_variance, _MIN_NOISE)
        weighted = self._loadings / noise
        k = len(weighted)
        covariance = np.linalg.inv(np.eye(k) + weighted @ self._loadings.T)
        root = np.linalg.cholesky((covariance + covariance.T) / 2)
        factors = scores @ weighted.T @ covariance
        factors += rng.standard_normal((len(scores), k)) @ root.T
        return factors @ self._loadings + np.sqrt(noise) * rng.standard_normal(scores.shape)

    def _fit_clusters(self, scores: np.ndarray) -> None:
        clusters = max(1, min(self._clusters, len(scores) // _MIN_POINTS_PER_CLUSTER))
        mixture = GaussianMixture(
            clusters, covariance_type="diag", reg_covar=1e-2, random_state=self._seed
        )
        with warnings.catch_warnings():
            # A mixture that has not fully converged is good enough to draw from.
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            mixture.fit(scores @ self._to_factors)
        self._weights = mixture.weights_
        self._means, self._variances = mixture.means_, mixture.covariances_

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        cluster = rng.choice(len(self._weights), size=count, p=self._weights)
        noise = rng.standard_normal((count, self._means.shape[1]))
        factors = self._means[cluster] + np.sqrt(self._variances[cluster]) * noise
        scores = factors @ self._loadings
        scores += np.sqrt(self._noise_variance) * rng.standard_normal(scores.shape)
        rank = (self._cumulative_probability(scores) * len(self._quantiles)).astype(int)
        return np.take_along_axis(self._quantiles, np.minimum(rank, len(self._quantiles) - 1), 0)

    def _cumulative_probability(self, scores: np.ndarray) -> np.ndarray:
        """The model's distribution function of each dimension's score, in [0, 1]."""
        total = np.zeros(scores.shape)
        for weight, mean, variance in zip(self._weights, self._means, self._variances, strict=True):
            own = variance @ np.square(self._loadings) + self._noise_variance
            total += weight * ndtr((scores - mean @ self._loadings) / np.sqrt(own))
        return total


# A single Gaussian in the space of normal scores: correlated draws with each dimension's histogram.
GaussianCopula = functools.partial(GaussianMixtureCopula, clusters=1)


def normal_scores(features: np.ndarray, tie_order: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks in each dimension.

    Args:
      features: `[n, dimensions]`, with n at least 2.
      tie_order: `[n, dimensions]`; of equal values the one with the smaller number ranks first.

    Returns:
      `[n, dimensions]`, float32; each dimension has the mean 0 and the variance 1 (of n - 1).
    """
    count = len(features)
    # Transposed, since the values of a dimension are then contiguous, which sorts faster.
    order = np.lexsort((np.ascontiguousarray(tie_order.T), np.ascontiguousarray(features.T)))
    values = ndtri((np.arange(count) + 0.5) / count)
    values = (values / values.std(ddof=1)).astype(np.float32)
    scores = np.empty(order.shape, np.float32)
    np.put_along_axis(scores, order, np.broadcast_to(values, order.shape), 1)
    return scores.T


def best_joint_sampler(distances: Mapping[str, float]) -> str:
    """The joint model with the smallest distance; `distances` are by name of the sampler."""
    return min(JOINT, key=lambda name: distances[name])


class PCAFrechetDistance:
    """Fréchet distance to reference features along their leading principal components.

    A Fréchet distance in as many dimensions as there are samples would be mostly chance, so at most
    a quarter as many components are compared.

    Args:
      features: the reference, `[n, ...]`.
    """

    def __init__(self, features: np.ndarray):
        flat = features.reshape(len(features), -1)
        most = max(1, min(len(flat) // 4, _MAX_COMPONENTS, flat.shape[1]))
        self._pca = PCA(most, random_state=0).fit(flat)
        self._features = self._pca.transform(flat)

    @property
    def dimensions(self) -> int:
        """Number of components compared."""
        return self._features.shape[1]

    def distance(self, features: np.ndarray) -> float:
        """Fréchet distance of `[m, ...]` to the reference, in squared units of the features."""
        flat = features.reshape(len(features), -1)
        return frechet_distance(self._pca.transform(flat), self._features)


class SamplerEvaluation(NamedTuple):
    """Features from several sources, compared with real features of other images.

    Attributes:
      rows: a table row for each source.
      images: by source, some reconstructions of the first draw, `[k, H, W, 3]`.
      dimensions: number of principal components along which features are compared.
    """

    rows: list[dict[str, Any]]
    images: dict[str, np.ndarray]
    dimensions: int


def evaluate_samplers(
    inverter: Inverter,
    training: np.ndarray,
    held_out: np.ndarray,
    models: Mapping[str, Callable[[np.ndarray], Sampler]],
    seed: int,
    repeats: int,
) -> SamplerEvaluation:
    """Fits samplers on the features of images and compares their draws with held-out features.

    The first source is `REAL`, the training images' own features. "frechet_distance" is that of the
    features; "image_frechet_distance" is that of the features of their reconstructions;
    "active_units" is the fraction of values that are not zero; "image_contrast" is the mean
    contrast of the reconstructions.

    Args:
      inverter: encodes images and inverts draws.
      training: images on whose features the samplers are fitted, `[n, H, W, 3]`.
      held_out: other images, `[m, H, W, 3]`.
      models: by name, what fits a sampler on features.
      seed: random seed of the draws.
      repeats: draws of n features from each sampler.
    """
    size = inverter.feature.image_shape[:2]

    def encode_again(images: np.ndarray) -> np.ndarray:
        return inverter.encode(resize_images(images, size))

    features, reference = inverter.encode(training), inverter.encode(held_out)
    metrics = (
        PCAFrechetDistance(reference),
        PCAFrechetDistance(encode_again(inverter.invert(reference))),
    )
    draws, shown, rows = {REAL: [features]}, {}, []
    for i, (name, fit) in enumerate(models.items()):
        model, rng = fit(features), np.random.default_rng([seed, i])
        draws[name] = [model.draw(len(features), rng) for _ in range(repeats)]
    for name, own in draws.items():
        images = [inverter.invert(each) for each in own]
        encoded = [encode_again(each) for each in images]
        row: dict[str, Any] = {"source": name}
        for metric, column, compared in zip(metrics, DISTANCES, (own, encoded), strict=True):
            row |= mean_columns(column, np.array([metric.distance(each) for each in compared]))
            if len(own) == 1:
                row[f"{column}_se"] = None
        row["active_units"] = float(np.mean([(each != 0).mean() for each in own]))
        row["image_contrast"] = float(np.mean([image_contrast(each).mean() for each in images]))
        rows.append(row)
        shown[name] = images[0][evenly_spaced_indices(len(images[0]), NUM_EXAMPLES)]
    return SamplerEvaluation(rows, shown, metrics[0].dimensions)


def relative_to_real(table: pd.DataFrame) -> pd.DataFrame:
    """Distances, and their errors, in units of the distance of the label's real features.

    A missing error, of a single draw, becomes 0.
    """
    table = table.copy()
    real = table[table["source"] == REAL].set_index("label")
    for column in DISTANCES:
        unit = table["label"].map(real[column])
        table[f"{column}_se"] = table[f"{column}_se"].astype(float).fillna(0) / unit
        table[column] /= unit
    return table
