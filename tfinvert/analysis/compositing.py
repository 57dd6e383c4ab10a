"""Objects put into photographs at known places, and where a change says that they are."""

from collections.abc import Sequence

import numpy as np

from tfinvert.analysis.result_cache import Arrays
from tfinvert.inverter import Inverter

_CANDIDATES = 8  # photographs drawn for each background, of which the most unlike gives the object


def center_crop(images: np.ndarray, side: int) -> np.ndarray:
    """The squares in the middle: `[n, H, W, 3]` become `[n, side, side, 3]`."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def paste(
    backgrounds: np.ndarray, objects: np.ndarray, mask: np.ndarray, top: int, left: int
) -> np.ndarray:
    """Copies of backgrounds `[n, H, W, 3]` with objects `[n, side, side, 3]` at one place.

    The mask, `[side, side]`, is how much of the object is seen: 1 hides the background. Its first
    pixel is in the row `top` and the column `left`.
    """
    copies = backgrounds.copy()
    side, weight = len(mask), mask[..., np.newaxis]
    window = copies[:, top : top + side, left : left + side]
    window += weight * (objects - window)
    return copies


def choose_objects(
    colors: np.ndarray, surroundings: np.ndarray, own: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """For each background the index of the most unlike of a few other photographs: `[m]`.

    Args:
      colors: `[n, 3]`, mean colours of what each photograph would give as an object.
      surroundings: `[m, 3]`, mean colours of the backgrounds.
      own: `[m]`, which of the n photographs each background is: never chosen for it.
      rng: draws the few.
    """
    steps = rng.integers(1, len(colors), (len(own), _CANDIDATES))
    drawn = (own[:, np.newaxis] + steps) % len(colors)
    contrast = np.linalg.norm(colors[drawn] - surroundings[:, np.newaxis], axis=-1)
    return drawn[np.arange(len(own)), contrast.argmax(1)]


def placement_grid(
    places: int, side: int, height: int, width: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """So many places along each side, of which the outermost touch the border; sizes in pixels.

    Returns:
      (top, left) of the object at each, and `[places², 2]`: (x, y) of its centre, in widths of the
      image from its middle.
    """
    corners = [
        (round(top), round(left))
        for top in np.linspace(0, height - side, places)
        for left in np.linspace(0, width - side, places)
    ]
    middles = np.array([(left + side / 2, top + side / 2) for top, left in corners])
    return corners, (middles - np.array([width, height]) / 2) / width


def squared_difference(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared difference, summed over channels: two of `[n, H, W, 3]` become `[n, H, W]`."""
    return np.square(others - images).sum(-1)


def change_centroid(changes: np.ndarray) -> np.ndarray:
    """Where images changed, measured from their middle: the centre of mass of the change.

    The median of an image's pixels is taken off first, and what falls below it is 0: a faint change
    of the whole image would pull the centre of mass to the middle. Of `[n, H, W]`, at least 0, it
    gives `[n, 2]`, (x, y) in widths of the image, right and down; 0 where nothing is left.
    """
    height, width = changes.shape[1:]
    floor = np.median(changes, (1, 2), keepdims=True)
    above = np.maximum(changes - floor, 0.0).astype(np.float64)
    x = (np.arange(width) - (width - 1) / 2) / width
    y = (np.arange(height) - (height - 1) / 2) / width
    moments = np.stack([above.sum(1) @ x, above.sum(2) @ y], 1)
    total = above.sum((1, 2))[:, np.newaxis]
    return np.divide(moments, total, out=np.zeros_like(moments), where=total > 0)


def position_correlation(places: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Pearson's of true `[places, 2]` and measured `[places, backgrounds, 2]`, and its error.

    It is over all backgrounds, places and both coordinates; 0 where nothing varies. The standard
    error is the jackknife's over backgrounds, since the places of one are not independent.
    """
    true = np.broadcast_to(places[:, np.newaxis], measured.shape)

    def pearson(which: np.ndarray) -> float:
        pair = true[:, which].ravel(), measured[:, which].ravel()
        return float(np.corrcoef(*pair)[0, 1]) if min(map(np.ptp, pair)) > 0 else 0.0

    every = np.arange(measured.shape[1])
    without = np.array([pearson(every != i) for i in every])
    error = np.sqrt((len(every) - 1) / len(every) * np.square(without - without.mean()).sum())
    return pearson(every), float(error)


def measure_centroids(
    inverter: Inverter,
    without: np.ndarray,
    objects: np.ndarray,
    mask: np.ndarray,
    corners: Sequence[tuple[int, int]],
) -> Arrays:
    """Where reconstructions change, `[places, backgrounds, 2]`."""
    before = inverter.reconstruct(without)
    pasted = (paste(without, objects, mask, *corner) for corner in corners)
    changes = (squared_difference(before, inverter.reconstruct(images)) for images in pasted)
    return {"centers": np.stack([change_centroid(each) for each in changes])}


def build_scenes(
    images: np.ndarray, chosen: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Backgrounds, an object for each, and how unlike the two are."""
    cuts, backgrounds = center_crop(images, side), images[chosen]
    colors, surroundings = cuts.mean((1, 2)), backgrounds.mean((1, 2))
    sources = choose_objects(colors, surroundings, chosen, rng)
    contrast = np.linalg.norm(colors[sources] - surroundings, axis=1)
    return backgrounds, cuts[sources], contrast


def soft_disc(height: int, width: int, diameter: float, edge: float) -> np.ndarray:
    """A disc in the middle of `[height, width]` pixels: float32, 1 inside, 0 from its rim on.

    The diameter is in pixels, and so is the edge, above 0, over which it falls linearly, inwards
    from the rim.
    """
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.clip((diameter / 2 - distance) / edge, 0.0, 1.0).astype(np.float32)
