"""Hues: turned, compared, and how far one is from where a turn would have taken it."""

from collections.abc import Callable, Sequence

import numpy as np
import skimage.color
import tqdm

from tfinvert.analysis.compositing import soft_disc

_EDGE = 0.1  # of the image's width, over which the turned disc fades into its surroundings
_BATCH = 64
CHANCE = 90.0  # degrees by which a hue drawn at random is off


def rotate_hue(images: np.ndarray, degrees: float) -> np.ndarray:
    """Turns the hue of HSV and keeps saturation and value: `[..., 3]` in [0, 1]."""
    hsv = skimage.color.rgb2hsv(images)
    hsv[..., 0] = (hsv[..., 0] + degrees / 360.0) % 1.0
    return skimage.color.hsv2rgb(hsv)


def chroma(images: np.ndarray) -> np.ndarray:
    """Colour as a complex number whose angle is the hue: `[..., 3]` in [0, 1] becomes `[...]`.

    c = (R - (G + B)/2) + i·(√3/2)·(G - B): red is 1, green and blue are 120° either way from it,
    and greys are 0. The angle differs from HSV's hue by 1.1° at most.
    """
    red, green, blue = np.moveaxis(images, -1, 0)
    return (red - (green + blue) / 2) + 0.75**0.5 * 1j * (green - blue)


def chroma_product(chromas: np.ndarray, others: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Σ mask · conj(c) · c' over the pixels of each image: two of `[n, H, W]` become `[n]`.

    Its angle is the turn from the first hue to the second, in which vivid pixels count most.
    """
    return np.einsum("hw,nhw,nhw->n", mask, chromas.conj(), others, dtype=np.complex128)


def hue_error(agreements: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """How far hues are from where turns, in degrees, would have taken them: 0 to 180 degrees.

    `chroma_product`s of `[turns, n]` give such; one of 0 has no hue, and counts as chance would.
    """
    back = np.exp(-1j * np.radians(turns))[:, np.newaxis]
    return np.where(agreements == 0, CHANCE, np.abs(np.degrees(np.angle(agreements * back))))


def rotation_disc(images: np.ndarray, size: float) -> np.ndarray:
    """What is turned: `[H, W]`, a disc of a fraction of the width and, around it, a fading edge."""
    height, width = images.shape[1:3]
    return soft_disc(height, width, (size + 2 * _EDGE) * width, _EDGE * width)


def rotate_hue_inside(images: np.ndarray, disc: np.ndarray, degrees: float) -> np.ndarray:
    """Images with the hue turned inside the disc."""
    weight = disc[..., np.newaxis]
    return images * (1 - weight) + rotate_hue(images, degrees) * weight


def measure_chroma_products(
    ways: Sequence[Callable[[np.ndarray], np.ndarray]],
    images: np.ndarray,
    disc: np.ndarray,
    inside: np.ndarray,
    turns: np.ndarray,
) -> np.ndarray:
    """Of photographs with what several ways make of turned ones: `[ways, turns, n]`."""
    found = np.zeros((len(ways), len(turns), len(images)), complex)
    for start in tqdm.trange(0, len(images), _BATCH, desc="color", leave=False):
        place = slice(start, start + _BATCH)
        own = chroma(images[place])
        for i, degrees in enumerate(turns):
            shown = rotate_hue_inside(images[place], disc, degrees)
            for k, way in enumerate(ways):
                found[k, i, place] = chroma_product(own, chroma(way(shown)), inside)
    return found
