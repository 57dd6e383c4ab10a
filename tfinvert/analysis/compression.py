"""Ways to store descriptors: in a few bits an entry, as principal components, a few of many."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from tfinvert.analysis.keypoints import keep_keypoints
from tfinvert.features.sift import DESCRIPTOR_SIZE, occupied_cells

UNCOMPRESSED, COMPONENTS = "as it is", "components"  # the second after their number
BITS = (8, 4, 1)
DIMENSIONS = (256, 64, 16)
BUDGETS = (200, 100, 50, 20, 10, 5)
_FLOAT = 4  # bytes
_PLACE = 4  # numbers of a keypoint beside its descriptor: x, y, orientation, scale


class CompressionResult(NamedTuple):
    """Descriptors as they come out of a store.

    Attributes:
      features: of the shape they had.
      size: bytes an image takes in the store.
    """

    features: np.ndarray
    size: float


CompressionMethod = Callable[[np.ndarray], CompressionResult]


def compression_methods(
    reference: np.ndarray, sparse: bool, seed: int = 0
) -> dict[str, CompressionMethod]:
    """The ways in which a feature is stored, by name.

    Args:
      reference: `[n, ...]` of other images, from which ranges and components are learned.
      sparse: whether they are grids of SIFT, of which keypoints are stored.
      seed: of which keypoints are kept.
    """
    if sparse:
        found: dict[str, CompressionMethod] = {UNCOMPRESSED: _keypoints(None, seed)}
        most = occupied_cells(reference).sum((1, 2)).mean()
        fewer = [count for count in BUDGETS if count < most]
        return found | {f"{count} keypoints": _keypoints(count, seed) for count in fewer}
    found = {UNCOMPRESSED: lambda features: CompressionResult(features, _FLOAT * features[0].size)}
    found |= {
        f"{bits} bits" if bits > 1 else "1 bit": make_quantizer(reference, bits) for bits in BITS
    }
    if reference.ndim == 2:
        fit = [count for count in DIMENSIONS if count < min(reference.shape)]
        found |= {f"{count} {COMPONENTS}": make_pca_projection(reference, count) for count in fit}
    return found


def make_quantizer(reference: np.ndarray, bits: int) -> CompressionMethod:
    """So many bits an entry: evenly spaced values over the reference's range.

    One bit says whether an entry is above the mean of its channel (of its unit, for vectors). What
    comes out is the mean of the reference's entries there that are, or of those that are not.
    """
    if bits == 1:
        return _one_bit(reference)
    low, high = float(reference.min()), float(reference.max())
    step = (high - low) / (2**bits - 1) or 1.0

    def store(features: np.ndarray) -> CompressionResult:
        codes = np.round((np.clip(features, low, high) - low) / step)
        return CompressionResult(
            (codes * step + low).astype(np.float32), bits * features[0].size / 8
        )

    return store


def _one_bit(reference: np.ndarray) -> CompressionMethod:
    flat = reference.reshape(-1, reference.shape[-1]).astype(np.float64)
    middle = flat.mean(0)
    above = flat > middle
    high, low = ((flat * there).sum(0) / np.maximum(there.sum(0), 1) for there in (above, ~above))

    def store(features: np.ndarray) -> CompressionResult:
        restored = np.where(features > middle, high, low).astype(np.float32)
        return CompressionResult(restored, features[0].size / 8)

    return store


def make_pca_projection(reference: np.ndarray, components: int) -> CompressionMethod:
    """So many principal components of the reference's vectors, as float32."""
    pca = PCA(components, random_state=0).fit(reference)

    def store(features: np.ndarray) -> CompressionResult:
        restored = pca.inverse_transform(pca.transform(features)).astype(np.float32)
        return CompressionResult(restored, _FLOAT * components)

    return store


def _keypoints(count: int | None, seed: int) -> CompressionMethod:
    """Of each grid of SIFT at most so many keypoints: a byte for each number of a descriptor."""

    def store(features: np.ndarray) -> CompressionResult:
        kept = (
            features
            if count is None
            else keep_keypoints(features, count, np.random.default_rng(seed))
        )
        an_image = occupied_cells(kept).sum((1, 2)).mean()
        return CompressionResult(kept, float(an_image * (DESCRIPTOR_SIZE + _FLOAT * _PLACE)))

    return store
