"""New features like those of real images: the paper's independent draws, and joint models.

A layer's units fire together, which draws from each unit's own histogram (section 5 of the paper)
lose. The joint models keep those histograms and learn the dependence beside them: a Gaussian copula
of few factors, and a mixture of Gaussians of the same factors.
"""

import abc
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import sklearn.exceptions
from scipy.special import ndtr, ndtri
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from tfinvert.analysis.result import Row, mean_columns
from tfinvert.analysis.scores import image_contrast
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.inverter import Inverter
from tfinvert.metrics.frechet import frechet_distance

REAL = "real features"
INDEPENDENT, TRUNCATED = "independent histograms", "truncated Gaussians"
COPULA, MIXTURE = "Gaussian copula", "mixture of Gaussians"
JOINT = (COPULA, MIXTURE)
_LEAST_NOISE = 1e-3
# With fewer points for each cluster its variances are those of the points it happened to get.
_POINTS_A_CLUSTER = 16


class Sampler(abc.ABC):
    """A model of a feature's distribution, from those of n images: `[n, ...]`."""

    def __init__(self, features: np.ndarray):
        self._shape = features.shape[1:]
        self._fit(np.asarray(features, np.float32).reshape(len(features), -1))

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """New features: float32 `[count, ...]`, of the shape of those it was fitted on."""
        return self._draw(count, rng).astype(np.float32).reshape(count, *self._shape)

    @abc.abstractmethod
    def _fit(self, features: np.ndarray) -> None:
        """Learns from `[n, dimensions]`."""

    @abc.abstractmethod
    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws `[count, dimensions]`."""


class IndependentHistograms(Sampler):
    """Each dimension is one of its own values, whatever the others are: the paper's way."""

    def _fit(self, features: np.ndarray) -> None:
        self._features = features

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.integers(len(self._features), size=(count, self._features.shape[1]))
        return np.take_along_axis(self._features, chosen, 0)


class TruncatedGaussian(Sampler):
    """Each dimension is max(0, N(μ, σ)) by itself, with its own part of zeros and its own mean.

    A dimension that was never zero is a Gaussian of its own mean and deviation, cut off at 0. Of a
    feature that has negative values all dimensions are plain Gaussians.
    """

    def _fit(self, features: np.ndarray) -> None:
        mean = features.mean(0, dtype=np.float64)
        deviation = features.std(0, dtype=np.float64)
        self._low = -np.inf if features.min() < 0 else 0.0
        zeros = (features == 0).mean(0)
        truncated = (zeros > 0) & (zeros < 1) & (self._low == 0)
        # With a = μ/σ: P(0) = Φ(-a), and the mean is σ (φ(a) + a Φ(a)).
        a = -ndtri(np.where(truncated, zeros, 0.5))
        scale = mean / (scipy.stats.norm.pdf(a) + a * ndtr(a))
        self._scale = np.where(truncated, scale, deviation)
        self._location = np.where(truncated, a * scale, mean)

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((count, len(self._location)))
        return np.maximum(self._location + self._scale * noise, self._low)


class GaussianMixtureCopula(Sampler):
    """A mixture of Gaussians in the space of normal scores, with each dimension's own histogram.

    Every dimension is replaced by the normal scores of its ranks, as in a Gaussian copula. Their
    principal components are modelled by Gaussians with diagonal covariance, and what those leave of
    each score's variance of 1 is independent noise. A draw goes back through the model's own
    distribution function and the quantiles of each dimension, so that its histogram, zeros
    included, is matched.

    Equal values, as the many zeros of a sparse layer, are first ranked at random, which dilutes the
    dependence. In each round after that they are ranked by a draw from the model itself, given all
    scores (the extended rank likelihood of Hoff 2007).

    Args:
      features: `[n, ...]`.
      components: at most so many principal components, and no more than n/2.
      clusters: at most so many Gaussians, and no more than n/16.
      rounds: of ranking equal values anew.
      seed: of the ranks of equal values and of the fit.
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
            self._find_factors(scores, common=True)
            scores = normal_scores(features, self._likely_scores(scores, rng))
        self._find_factors(scores)
        self._quantiles = np.sort(features, 0)
        self._find_clusters(scores)

    def _find_factors(self, scores: np.ndarray, common: bool = False) -> None:
        """Sets the loadings `[k, dimensions]` of k factors of variance 1, and what they leave.

        If `common`, components lose the variance that noise alone would give them, as in
        probabilistic PCA (Tipping & Bishop 1999), so that rounds do not feed on chance.
        """
        count, dimensions = scores.shape
        most = min(self._components, count // 2, dimensions // 2 if common else dimensions)
        pca = PCA(max(1, most), random_state=self._seed).fit(scores)
        variance = pca.explained_variance_ - (pca.noise_variance_ if common else 0.0)
        deviation = np.sqrt(np.maximum(variance, 1e-12))[:, np.newaxis]
        self._to_factors = (pca.components_ / deviation).T
        self._loadings = pca.components_ * deviation
        self._left = np.clip(1.0 - np.square(self._loadings).sum(0), 0.0, 1.0)

    def _likely_scores(self, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scores drawn from the Gaussian model, given factors that are drawn given `scores`."""
        noise = np.maximum(self._left, _LEAST_NOISE)
        weighted = self._loadings / noise
        k = len(weighted)
        covariance = np.linalg.inv(np.eye(k) + weighted @ self._loadings.T)
        spread = np.linalg.cholesky((covariance + covariance.T) / 2)
        factors = scores @ weighted.T @ covariance
        factors += rng.standard_normal((len(scores), k)) @ spread.T
        return factors @ self._loadings + np.sqrt(noise) * rng.standard_normal(scores.shape)

    def _find_clusters(self, scores: np.ndarray) -> None:
        clusters = max(1, min(self._clusters, len(scores) // _POINTS_A_CLUSTER))
        mixture = GaussianMixture(
            clusters, covariance_type="diag", reg_covar=1e-2, random_state=self._seed
        )
        with warnings.catch_warnings():
            # A mixture that could be a little better is still one to draw from.
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            mixture.fit(scores @ self._to_factors)
        self._weights = mixture.weights_
        self._means, self._variances = mixture.means_, mixture.covariances_

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        which = rng.choice(len(self._weights), size=count, p=self._weights)
        noise = rng.standard_normal((count, self._means.shape[1]))
        factors = self._means[which] + np.sqrt(self._variances[which]) * noise
        scores = factors @ self._loadings
        scores += np.sqrt(self._left) * rng.standard_normal(scores.shape)
        place = (self._distribution(scores) * len(self._quantiles)).astype(int)
        return np.take_along_axis(self._quantiles, np.minimum(place, len(self._quantiles) - 1), 0)

    def _distribution(self, scores: np.ndarray) -> np.ndarray:
        """The model's own distribution function of each dimension's score, in [0, 1]."""
        total = np.zeros(scores.shape)
        for weight, mean, variance in zip(self._weights, self._means, self._variances, strict=True):
            own = variance @ np.square(self._loadings) + self._left
            total += weight * ndtr((scores - mean @ self._loadings) / np.sqrt(own))
        return total


# One Gaussian in the space of normal scores: correlated draws with each dimension's histogram.
GaussianCopula = functools.partial(GaussianMixtureCopula, clusters=1)


def normal_scores(features: np.ndarray, among_equal: np.ndarray) -> np.ndarray:
    """Each value's rank in its dimension, as a value of the normal distribution.

    Of `[n, dimensions]`, n at least 2, it gives float32 of that shape, every dimension with mean 0
    and variance 1 (of n - 1). Of equal values the one with the smaller number in `among_equal`, of
    the same shape, ranks first.
    """
    count = len(features)
    # Transposed, since a dimension's values then lie side by side, which sorts faster.
    order = np.lexsort((np.ascontiguousarray(among_equal.T), np.ascontiguousarray(features.T)))
    values = ndtri((np.arange(count) + 0.5) / count)
    values = (values / values.std(ddof=1)).astype(np.float32)
    scores = np.empty(order.shape, np.float32)
    np.put_along_axis(scores, order, np.broadcast_to(values, order.shape), 1)
    return scores.T


def best_joint_sampler(distances: Mapping[str, float]) -> str:
    """Which joint model's draws are nearest, by their mean distances."""
    return min(JOINT, key=lambda name: distances[name])


SOURCE, ACTIVE, CONTRAST = "features", "active units", "contrast of the images"
# Each with the column of its standard error over draws.
OF_FEATURES = "Fréchet distance", "standard error"
OF_IMAGES = "Fréchet distance of the images", "standard error of the images"
MEASURES = OF_FEATURES, OF_IMAGES
NUM_EXAMPLES = 8
_MAX_COMPONENTS = 128


class PCAFrechetDistance:
    """Distance to held-out features, `[n, ...]`, along their leading principal components.

    A Fréchet distance in as many dimensions as there are samples would be mostly chance, so at most
    a quarter as many are compared.
    """

    def __init__(self, features: np.ndarray):
        flat = features.reshape(len(features), -1)
        most = max(1, min(len(flat) // 4, _MAX_COMPONENTS, flat.shape[1]))
        self._pca = PCA(most, random_state=0).fit(flat)
        self._features = self._pca.transform(flat)

    @property
    def dimensions(self) -> int:
        """How many components are compared."""
        return self._features.shape[1]

    def distance(self, features: np.ndarray) -> float:
        """Fréchet distance of `[m, ...]` to the held-out features, in their units squared."""
        flat = features.reshape(len(features), -1)
        return frechet_distance(self._pca.transform(flat), self._features)


def evaluate_samplers(
    inverter: Inverter,
    learned: np.ndarray,
    held: np.ndarray,
    models: Mapping[str, Callable[[np.ndarray], Sampler]],
    seed: int,
    repeats: int,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], int]:
    """What sources of features give, over several draws; the real ones come first.

    Distances are to the held-out features; those of images are of what is decoded and encoded
    again. Active is the part of the features that is not zero.

    Returns:
      A row for each source; by source, some decoded images of the first draw, `[k, H, W, 3]`; and
      in how many dimensions features are compared.
    """
    size = inverter.feature.image_shape[:2]
    features, other = inverter.encode(learned), inverter.encode(held)
    spaces = (
        PCAFrechetDistance(other),
        PCAFrechetDistance(inverter.encode(resize_images(inverter.invert(other), size))),
    )
    draws, shown, rows = {REAL: [features]}, {}, []
    for i, (name, fit) in enumerate(models.items()):
        model, rng = fit(features), np.random.default_rng([seed, i])
        draws[name] = [model.draw(len(features), rng) for _ in range(repeats)]
    for name, own in draws.items():
        images = [inverter.invert(each) for each in own]
        again = [inverter.encode(resize_images(each, size)) for each in images]
        row: dict[str, Any] = {SOURCE: name}
        for space, columns, drawn in zip(spaces, MEASURES, (own, again), strict=True):
            distances = np.array([space.distance(each) for each in drawn])
            row |= mean_columns(columns, distances)
            if len(own) == 1:
                row[columns[1]] = None
        row[ACTIVE] = float(np.mean([(each != 0).mean() for each in own]))
        row[CONTRAST] = float(np.mean([image_contrast(each).mean() for each in images]))
        rows.append(row)
        shown[name] = images[0][evenly_spaced_indices(len(images[0]), NUM_EXAMPLES)]
    return rows, shown, spaces[0].dimensions


def relative_to_real(rows: Sequence[Row]) -> pd.DataFrame:
    """Labelled rows with distances, and their errors, in those of the label's real features.

    The error of a single draw, of which nothing is known, becomes 0.
    """
    table = pd.DataFrame(rows)
    real = table[table[SOURCE] == REAL].set_index("label")
    for value, error in MEASURES:
        unit = table["label"].map(real[value])
        table[error] = table[error].astype(float).fillna(0) / unit
        table[value] /= unit
    return table
