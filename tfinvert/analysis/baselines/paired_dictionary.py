"""A dictionary of pairs of feature windows and pixel windows."""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

from tfinvert.analysis.baselines.base import Batch, GridBaseline, sliding_windows
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class PairedDictionary(GridBaseline):
    """A dictionary of pairs: what a window's features look like, and its pixels.

    After HOGgles (Vondrick et al. 2013): atoms are learnt on windows of features and pixels
    together; a window is coded sparsely with the feature halves of the atoms, the pixel halves
    with that code are its image, and windows are averaged where they overlap.

    Args:
      feature: of a grid; this and the next two as `LearntBaseline` takes them.
      standardization: likewise.
      output_size: likewise.
      window: cells along the side of a window; fewer where the grid is smaller.
      stride: cells from one window to the next when inverting; at most a window.
      atoms: pairs in the dictionary; fewer where there are fewer windows to learn from.
      learning_penalty: of a code's absolute values while the dictionary is learnt. Windows are
        scaled so that a half has the mean square norm 1.
      penalty: likewise while inverting.
      samples: windows it is learnt from, drawn evenly from all there are.
      seed: draws the windows and the order in which they are learnt.
    """

    name = "paired_dictionary"

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization | None = None,
        output_size: tuple[int, int] | None = None,
        window: int = 4,
        stride: int = 2,
        atoms: int = 512,
        learning_penalty: float = 0.3,
        penalty: float = 0.1,
        samples: int = 20_000,
        seed: int = 0,
    ):
        super().__init__(feature, standardization, output_size)
        numbers = {"window": window, "stride": stride, "atoms": atoms, "samples": samples}
        numbers |= {"learning_penalty": learning_penalty, "penalty": penalty}
        for argument, number in numbers.items():
            if not number > 0:
                raise InputError(f"{self.name}: {argument} must be positive. Received: {number}")
        self.window = tuple(min(int(window), side) for side in self.grid)
        self.stride = tuple(min(int(stride), side) for side in self.window)
        self.atoms, self.samples = int(atoms), int(samples)
        self.learning_penalty, self.penalty = float(learning_penalty), float(penalty)
        self.seed = int(seed)

    def _fit(self, batches: Iterator[Batch]) -> None:
        rng = np.random.default_rng(self.seed)
        features, pixels = self._sample(batches, rng)
        self._mean = pixels.mean(0)
        pixels -= self._mean
        self._feature_scale, pixel_scale = _norm(features), _norm(pixels)
        half = features.shape[1]
        joint = np.concatenate([features / self._feature_scale, pixels / pixel_scale], 1)
        del features, pixels
        first = joint[rng.permutation(len(joint))[: self.atoms]]
        first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-6)
        learner = MiniBatchDictionaryLearning(
            len(first),
            alpha=self.learning_penalty,
            max_iter=1,  # passes over the windows
            batch_size=512,
            fit_algorithm="cd",
            dict_init=first,
            random_state=self.seed,
            tol=0.0,
            max_no_improvement=None,
        )
        with _without_warnings():
            pairs = learner.fit(joint).components_
        norms = np.linalg.norm(pairs[:, :half], axis=1, keepdims=True)
        # Atoms without a feature half are pixels no feature speaks of: no code may use them.
        pairs = np.where(norms > 1e-3, pairs / np.maximum(norms, 1e-3), 0.0)
        self._feature_atoms = np.ascontiguousarray(pairs[:, :half], np.float32)
        self._pixel_atoms = np.ascontiguousarray(pairs[:, half:] * pixel_scale, np.float32)

    def _sample(
        self, batches: Iterator[Batch], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Windows of features and of pixels, `[samples, ...]` each: a reservoir over all there are.

        The n-th window takes a random one of n places, if there is such a place (Vitter 1985).
        """
        parts = None
        count = 0
        for features, images in batches:
            pair = self._feature_windows(features), self._pixel_windows(images)
            positions = pair[0].shape[:3]
            order = np.arange(count, count + np.prod(positions))
            places = np.where(order < self.samples, order, rng.integers(0, order + 1))
            taken = np.flatnonzero(places < self.samples)
            where = np.unravel_index(taken, positions)
            if parts is None:
                parts = [np.empty((self.samples, *part.shape[3:]), np.float32) for part in pair]
            for kept, part in zip(parts, pair, strict=True):
                kept[places[taken]] = part[where]
            count += len(order)
        return tuple(part[:count].reshape(min(count, self.samples), -1) for part in parts)

    def _invert(self, features: np.ndarray) -> np.ndarray:
        tops, lefts = (
            sorted({*range(0, side - window, stride), side - window})
            for side, window, stride in zip(self.grid, self.window, self.stride, strict=True)
        )
        windows = self._feature_windows(features)[:, tops][:, :, lefts]
        rows = windows.reshape(len(features) * len(tops) * len(lefts), -1) / self._feature_scale
        with _without_warnings():
            codes = sparse_encode(
                rows, self._feature_atoms, algorithm="lasso_lars", alpha=self.penalty
            )
        height, width = (w * b for w, b in zip(self.window, self.block, strict=True))
        pixels = codes.astype(np.float32) @ self._pixel_atoms + self._mean
        pixels = pixels.reshape(len(features), len(tops), len(lefts), height, width, 3)
        total = np.zeros((len(features), *self.output_size, 3), np.float32)
        count = np.zeros((*self.output_size, 1), np.float32)
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                y, x = top * self.block[0], left * self.block[1]
                total[:, y : y + height, x : x + width] += pixels[:, i, j]
                count[y : y + height, x : x + width] += 1.0
        return total / count

    def _feature_windows(self, features: np.ndarray) -> np.ndarray:
        """At every cell where one fits: a view `[B, down, across, *window, channels]`."""
        return sliding_windows(self._standardized(features), self.window)

    def _pixel_windows(self, images: np.ndarray) -> np.ndarray:
        """Of the same cells: a view `[B, down, across, height, width, 3]`."""
        size = tuple(w * b for w, b in zip(self.window, self.block, strict=True))
        return sliding_windows(images, size)[:, :: self.block[0], :: self.block[1]]


def _norm(rows: np.ndarray) -> float:
    """Root of the mean squared norm of rows; 1 where they are all zero."""
    return float(np.sqrt(np.square(rows).sum(1, dtype=np.float64).mean())) or 1.0


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Of atoms that are nearly alike, which solvers warn of and which codes can do with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
