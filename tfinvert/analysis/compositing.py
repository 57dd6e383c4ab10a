"""Objects pasted into photographs at known positions, and where reconstructions change."""

from collections.abc import Sequence

import numpy as np

from tfinvert.analysis.result_cache import Arrays
from tfinvert.inverter import Inverter

_CANDIDATES = 8  # photographs drawn for each background; the most dissimilar gives the object


def soft_disc(height: int, width: int, diameter: float, edge: float) -> np.ndarray:
    """A centred disc with a soft edge: 1 inside, 0 from the rim outwards.

    Args:
      height: height of the mask in pixels.
      width: width of the mask in pixels.
      diameter: diameter of the rim in pixels.
      edge: width of the edge in pixels, above 0, over which the disc falls linearly, inwards from
        the rim.

    Returns:
      `[height, width]`, float32 in [0, 1].
    """
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.clip((diameter / 2 - distance) / edge, 0.0, 1.0).astype(np.float32)


def center_crop(images: np.ndarray, side: int) -> np.ndarray:
    """Central squares of images: `[n, H, W, 3]` → `[n, side, side, 3]`."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def paste(
    backgrounds: np.ndarray, objects: np.ndarray, mask: np.ndarray, top: int, left: int
) -> np.ndarray:
    """Copies of backgrounds with objects pasted at one position.

    Args:
      backgrounds: `[n, H, W, 3]`.
      objects: `[n, side, side, 3]`.
      mask: opacity of the objects, `[side, side]` in [0, 1].
      top: row of the mask's first pixel.
      left: column of the mask's first pixel.

    Returns:
      `[n, H, W, 3]`.
    """
    copies = backgrounds.copy()
    side, opacity = len(mask), mask[..., np.newaxis]
    window = copies[:, top : top + side, left : left + side]
    window += opacity * (objects - window)
    return copies


def choose_objects(
    colors: np.ndarray, background_colors: np.ndarray, own: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """For each background, the index of the most dissimilar of a few random photographs.

    Args:
      colors: mean colours of the n photographs' objects, `[n, 3]`.
      background_colors: mean colours of the backgrounds, `[m, 3]`.
      own: index of each background among the n photographs, `[m]`; it is never chosen for itself.
      rng: random generator that draws the photographs.

    Returns:
      `[m]`.
    """
    steps = rng.integers(1, len(colors), (len(own), _CANDIDATES))
    drawn = (own[:, np.newaxis] + steps) % len(colors)
    contrast = np.linalg.norm(colors[drawn] - background_colors[:, np.newaxis], axis=-1)
    return drawn[np.arange(len(own)), contrast.argmax(1)]


def placement_grid(
    places: int, side: int, height: int, width: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """A grid of positions for an object, of which the outermost touch the image's border.

    Args:
      places: positions along each side of the image.
      side: side of the object in pixels.
      height: height of the image in pixels.
      width: width of the image in pixels.

    Returns:
      (top, left) of the object at each position in pixels, and its centre (x, y) in widths of the
      image, relative to the centre of the image: `[places², 2]`.
    """
    corners = [
        (round(top), round(left))
        for top in np.linspace(0, height - side, places)
        for left in np.linspace(0, width - side, places)
    ]
    centers = np.array([(left + side / 2, top + side / 2) for top, left in corners])
    return corners, (centers - np.array([width, height]) / 2) / width


def squared_difference(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared difference of images, summed over channels: two `[n, H, W, 3]` → `[n, H, W]`."""
    return np.square(others - images).sum(-1)


def change_centroid(changes: np.ndarray) -> np.ndarray:
    """Centroid of the change in each image, relative to the image's centre.

    The median over an image's pixels is subtracted first and negative values are set to 0, because
    a faint change of the whole image would pull the centroid towards the centre.

    Args:
      changes: `[n, H, W]`, non-negative.

    Returns:
      (x, y) in widths of the image, right and down, `[n, 2]`; 0 where nothing is left.
    """
    height, width = changes.shape[1:]
    floor = np.median(changes, (1, 2), keepdims=True)
    above = np.maximum(changes - floor, 0.0).astype(np.float64)
    x = (np.arange(width) - (width - 1) / 2) / width
    y = (np.arange(height) - (height - 1) / 2) / width
    moments = np.stack([above.sum(1) @ x, above.sum(2) @ y], 1)
    total = above.sum((1, 2))[:, np.newaxis]
    return np.divide(moments, total, out=np.zeros_like(moments), where=total > 0)


def position_correlation(true: np.ndarray, centroids: np.ndarray) -> tuple[float, float]:
    """Pearson correlation of true and measured positions, and its standard error.

    The correlation is over all backgrounds, positions and both coordinates; it is 0 where nothing
    varies. The standard error is the jackknife over backgrounds, because the positions in one
    background are not independent.

    Args:
      true: `[places, 2]`.
      centroids: `[places, backgrounds, 2]`.
    """
    repeated = np.broadcast_to(true[:, np.newaxis], centroids.shape)

    def pearson(kept: np.ndarray) -> float:
        pair = repeated[:, kept].ravel(), centroids[:, kept].ravel()
        return float(np.corrcoef(*pair)[0, 1]) if min(map(np.ptp, pair)) > 0 else 0.0

    backgrounds = np.arange(centroids.shape[1])
    n = len(backgrounds)
    without = np.array([pearson(backgrounds != i) for i in backgrounds])
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    return pearson(np.full(n, True)), float(error)


def measure_centroids(
    inverter: Inverter,
    backgrounds: np.ndarray,
    objects: np.ndarray,
    mask: np.ndarray,
    corners: Sequence[tuple[int, int]],
) -> Arrays:
    """Centroids of the change in reconstructions when objects are pasted.

    Args:
      inverter: reconstructs the photographs with and without the objects.
      backgrounds: `[n, H, W, 3]`.
      objects: `[n, side, side, 3]`.
      mask: `[side, side]`.
      corners: (top, left) of each position.

    Returns:
      "centers": `[places, n, 2]`; see `change_centroid`.
    """
    before = inverter.reconstruct(backgrounds)
    pasted = (paste(backgrounds, objects, mask, *corner) for corner in corners)
    changes = (squared_difference(before, inverter.reconstruct(images)) for images in pasted)
    return {"centers": np.stack([change_centroid(each) for each in changes])}


def build_scenes(
    images: np.ndarray, chosen: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backgrounds, an object for each, and the contrast between both.

    Args:
      images: `[n, H, W, 3]`.
      chosen: indices of the backgrounds, `[m]`.
      side: side of the objects in pixels; they are centre crops of other photographs.
      rng: random generator; see `choose_objects`.

    Returns:
      `[m, H, W, 3]`, `[m, side, side, 3]` and the distances of the mean colours, `[m]`.
    """
    crops, backgrounds = center_crop(images, side), images[chosen]
    colors, background_colors = crops.mean((1, 2)), backgrounds.mean((1, 2))
    sources = choose_objects(colors, background_colors, chosen, rng)
    contrast = np.linalg.norm(colors[sources] - background_colors, axis=1)
    return backgrounds, crops[sources], contrast
