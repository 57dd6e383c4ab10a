"""Lossy compression of features: quantisation, principal components, and fewer SIFT keypoints."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from tfinvert.features.sift import DESCRIPTOR_SIZE, occupied_cells

UNCOMPRESSED, COMPONENTS = "uncompressed", "components"  # the second after their number
BITS = (8, 4, 1)
DIMENSIONS = (256, 64, 16)
KEYPOINT_COUNTS = (200, 100, 50, 20, 10, 5)
_FLOAT_BYTES = 4
_GEOMETRY_VALUES = 4  # of a keypoint, besides its descriptor: x, y, orientation and scale


class CompressionResult(NamedTuple):
    """Features after compression and decompression.

    Attributes:
      features: of their original shape.
      size: bytes an image takes when compressed.
    """

    features: np.ndarray
    size: float


CompressionMethod = Callable[[np.ndarray], CompressionResult]


def compression_methods(
    reference: np.ndarray, sparse: bool, seed: int = 0
) -> dict[str, CompressionMethod]:
    """Compression methods by name, leaving out those that would not reduce the features.

    Args:
      reference: features of other images, `[n, ...]`, from which ranges and components are learnt.
      sparse: whether they are SIFT grids, which are compressed by keeping fewer keypoints.
      seed: random seed of the keypoints that are kept.
    """
    if sparse:
        mean_count = occupied_cells(reference).sum((1, 2)).mean()
        methods: dict[str, CompressionMethod] = {UNCOMPRESSED: _make_keypoint_subset(None, seed)}
        return methods | {
            f"{count} keypoints": _make_keypoint_subset(count, seed)
            for count in KEYPOINT_COUNTS
            if count < mean_count
        }
    methods = {UNCOMPRESSED: lambda x: CompressionResult(x, _FLOAT_BYTES * x[0].size)}
    methods |= {
        f"{bits} bits" if bits > 1 else "1 bit": make_quantizer(reference, bits) for bits in BITS
    }
    if reference.ndim == 2:
        methods |= {
            f"{count} {COMPONENTS}": make_pca_projection(reference, count)
            for count in DIMENSIONS
            if count < min(reference.shape)
        }
    return methods


def make_quantizer(reference: np.ndarray, bits: int) -> CompressionMethod:
    """Quantises every value to a number of bits, evenly over the range of the reference.

    A single bit says whether a value is above the mean of its channel (or unit, for vectors). It is
    restored to the mean of the reference values there that are above, or of those that are not.
    """
    if bits == 1:
        return _make_binarizer(reference)
    low, high = float(reference.min()), float(reference.max())
    step = (high - low) / (2**bits - 1) or 1.0

    def compress(features: np.ndarray) -> CompressionResult:
        codes = np.round((np.clip(features, low, high) - low) / step)
        restored = (codes * step + low).astype(np.float32)
        return CompressionResult(restored, bits * features[0].size / 8)

    return compress


def _make_binarizer(reference: np.ndarray) -> CompressionMethod:
    flat = reference.reshape(-1, reference.shape[-1]).astype(np.float64)
    threshold = flat.mean(0)
    above = flat > threshold
    high, low = ((flat * side).sum(0) / np.maximum(side.sum(0), 1) for side in (above, ~above))

    def compress(features: np.ndarray) -> CompressionResult:
        restored = np.where(features > threshold, high, low).astype(np.float32)
        return CompressionResult(restored, features[0].size / 8)

    return compress


def make_pca_projection(reference: np.ndarray, components: int) -> CompressionMethod:
    """Projects vectors onto the leading principal components of the reference, as float32."""
    pca = PCA(components, random_state=0).fit(reference)

    def compress(features: np.ndarray) -> CompressionResult:
        restored = pca.inverse_transform(pca.transform(features)).astype(np.float32)
        return CompressionResult(restored, _FLOAT_BYTES * components)

    return compress


def _make_keypoint_subset(count: int | None, seed: int) -> CompressionMethod:
    """Keeps at most `count` keypoints of each SIFT grid, with a byte for each descriptor value."""

    def compress(features: np.ndarray) -> CompressionResult:
        rng = np.random.default_rng(seed)
        kept = features if count is None else keep_keypoints(features, count, rng)
        keypoints = occupied_cells(kept).sum((1, 2)).mean()
        return CompressionResult(
            kept, float(keypoints * (DESCRIPTOR_SIZE + _FLOAT_BYTES * _GEOMETRY_VALUES))
        )

    return compress


def keep_keypoints(
    grids: np.ndarray, count: int | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Keeps a random subset of each grid's keypoints and empties the other cells.

    Args:
      grids: SIFT features, `[n, rows, columns, 133]`.
      count: maximum number of keypoints of a grid, or of each grid, `[n]`.
      rng: random generator.

    Returns:
      `[n, rows, columns, 133]`, float32.
    """
    full = occupied_cells(grids)
    flat = full.reshape(len(grids), -1)
    # A random rank among a grid's keypoints; empty cells rank last.
    rank = np.argsort(np.argsort(np.where(flat, rng.random(flat.shape), 2.0), 1), 1)
    kept = full & (rank < np.reshape(count, (-1, 1))).reshape(full.shape)
    return np.where(kept[..., np.newaxis], grids, 0.0).astype(np.float32)


def keep_keypoint_fraction(
    grids: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Keeps a fraction, in [0, 1], of each grid's keypoints, rounded; see `keep_keypoints`."""
    return keep_keypoints(grids, np.round(fraction * occupied_cells(grids).sum((1, 2))), rng)
