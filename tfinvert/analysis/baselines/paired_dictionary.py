"""Dictionary learning on pairs of feature windows and pixel windows."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

from tfinvert.analysis.baselines.base import Batch, GridBaseline, sliding_windows
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization


class PairedDictionary(GridBaseline):
    """A paired dictionary of feature and pixel windows, after HOGgles (Vondrick et al. 2013).

    Atoms are learnt on the features and the pixels of windows together. To invert, a window is
    coded sparsely with the feature halves of the atoms, the pixel halves with the same code give
    its image, and overlapping windows are averaged.

    Args:
      feature: a grid feature.
      standardization: see `TrainableBaseline`.
      output_size: see `TrainableBaseline`.
      window: side of a window in cells; at most the side of the grid.
      stride: distance between windows in cells when inverting; at most a window.
      atoms: number of pairs in the dictionary; at most the number of windows to learn from.
      learning_penalty: L1 penalty of the codes while the dictionary is learnt. Windows are scaled
        so that each half has a mean squared norm of 1.
      penalty: L1 penalty of the codes when inverting.
      samples: number of windows to learn from, drawn uniformly from all windows.
      seed: random seed of the drawn windows and their order.

    Attributes:
      feature_atoms: `[atoms, values of a feature window]`, after fitting.
      pixel_atoms: `[atoms, values of a pixel window]`, after fitting.
      feature_scale: divisor of feature windows before they are coded, after fitting.
      mean_pixels: mean pixel window, `[values of a pixel window]`, after fitting.

    Raises:
      InputError: the feature is not a grid of whole cells, or a number is not positive.
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
                raise InputError(
                    f"{self.name} takes a positive {argument}. Received: {argument}={number}"
                )
        self.window = tuple(min(int(window), side) for side in self.grid)
        self.stride = tuple(min(int(stride), side) for side in self.window)
        self.atoms, self.samples = int(atoms), int(samples)
        self.learning_penalty, self.penalty = float(learning_penalty), float(penalty)
        self.seed = int(seed)

    def _fit(self, batches: Iterator[Batch]) -> None:
        rng = np.random.default_rng(self.seed)
        windows = ((self._feature_windows(x), self._pixel_windows(y)) for x, y in batches)
        features, pixels = sample_pairs(windows, self.samples, rng)
        self.mean_pixels = pixels.mean(0)
        pixels -= self.mean_pixels
        self.feature_scale, pixel_scale = _rms_norm(features), _rms_norm(pixels)
        half = features.shape[1]
        joint = np.concatenate([features / self.feature_scale, pixels / pixel_scale], 1)
        del features, pixels
        initial = joint[rng.permutation(len(joint))[: self.atoms]]
        initial /= np.maximum(np.linalg.norm(initial, axis=1, keepdims=True), 1e-6)
        learner = MiniBatchDictionaryLearning(
            len(initial),
            alpha=self.learning_penalty,
            max_iter=1,  # passes over the windows
            batch_size=512,
            fit_algorithm="cd",
            dict_init=initial,
            random_state=self.seed,
            tol=0.0,
            max_no_improvement=None,
        )
        with _ignore_solver_warnings():
            pairs = learner.fit(joint).components_
        norms = np.linalg.norm(pairs[:, :half], axis=1, keepdims=True)
        # Atoms with a zero feature half are pixels that no feature predicts: no code may use them.
        pairs = np.where(norms > 1e-3, pairs / np.maximum(norms, 1e-3), 0.0)
        self.feature_atoms = np.ascontiguousarray(pairs[:, :half], np.float32)
        self.pixel_atoms = np.ascontiguousarray(pairs[:, half:] * pixel_scale, np.float32)

    def _invert(self, features: np.ndarray) -> np.ndarray:
        tops, lefts = (
            sorted({*range(0, side - window, stride), side - window})
            for side, window, stride in zip(self.grid, self.window, self.stride, strict=True)
        )
        windows = self._feature_windows(features)[:, tops][:, :, lefts]
        rows = windows.reshape(len(features) * len(tops) * len(lefts), -1) / self.feature_scale
        with _ignore_solver_warnings():
            codes = sparse_encode(
                rows, self.feature_atoms, algorithm="lasso_lars", alpha=self.penalty
            )
        height, width = (w * b for w, b in zip(self.window, self.block, strict=True))
        pixels = codes.astype(np.float32) @ self.pixel_atoms + self.mean_pixels
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
        """Windows at every cell where one fits: a view `[B, rows, columns, *window, channels]`."""
        return sliding_windows(self._standardize(features), self.window)

    def _pixel_windows(self, images: np.ndarray) -> np.ndarray:
        """Pixels of the same cells: a view `[B, rows, columns, height, width, 3]`."""
        size = tuple(w * b for w, b in zip(self.window, self.block, strict=True))
        return sliding_windows(images, size)[:, :: self.block[0], :: self.block[1]]


def sample_pairs(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pairs of windows uniformly by reservoir sampling (Vitter 1985).

    The n-th window replaces a random one of n entries, if the reservoir has that entry.

    Args:
      batches: (feature windows `[B, rows, columns, ...]`, pixel windows `[B, rows, columns, ...]`).
      samples: size of the reservoir.
      rng: random generator.

    Returns:
      Feature windows and pixel windows, both flattened to `[n, values]`, with n at most `samples`.
    """
    reservoirs, count = None, 0
    for pair in batches:
        positions = pair[0].shape[:3]
        order = np.arange(count, count + np.prod(positions))
        entries = np.where(order < samples, order, rng.integers(0, order + 1))
        accepted = np.flatnonzero(entries < samples)
        where = np.unravel_index(accepted, positions)
        if reservoirs is None:
            reservoirs = [np.empty((samples, *windows.shape[3:]), np.float32) for windows in pair]
        for reservoir, windows in zip(reservoirs, pair, strict=True):
            reservoir[entries[accepted]] = windows[where]
        count += len(order)
    n = min(count, samples)
    return tuple(reservoir[:n].reshape(n, -1) for reservoir in reservoirs)


def _rms_norm(rows: np.ndarray) -> float:
    """Root of the mean squared norm of rows; 1 where they are all zero."""
    return float(np.sqrt(np.square(rows).sum(1, dtype=np.float64).mean())) or 1.0


@contextlib.contextmanager
def _ignore_solver_warnings() -> Iterator[None]:
    """Silences warnings about nearly collinear atoms, which do not harm the codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
