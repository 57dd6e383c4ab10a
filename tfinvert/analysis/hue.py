"""Rotation and comparison of hues."""

from collections.abc import Callable, Sequence

import numpy as np
import skimage.color
import tqdm

from tfinvert.analysis.compositing import soft_disc

_EDGE = 0.1  # of the image's width, over which the disc of rotated hue fades out
_BATCH = 64
CHANCE = 90.0  # degrees, the mean error of a random hue


def rotate_hue(images: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates the hue of HSV and keeps saturation and value: `[..., 3]` in [0, 1]."""
    hsv = skimage.color.rgb2hsv(images)
    hsv[..., 0] = (hsv[..., 0] + degrees / 360.0) % 1.0
    return skimage.color.hsv2rgb(hsv)


def chroma(images: np.ndarray) -> np.ndarray:
    """Colour as a complex number whose angle is the hue: `[..., 3]` in [0, 1] becomes `[...]`.

    c = (R - (G + B)/2) + i·(√3/2)·(G - B): red is 1, green and blue are at ±120° from it, and greys
    are 0. The angle differs from HSV's hue by at most 1.1°.
    """
    red, green, blue = np.moveaxis(images, -1, 0)
    return (red - (green + blue) / 2) + 0.75**0.5 * 1j * (green - blue)


def chroma_product(chromas: np.ndarray, others: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Inner product Σ mask · conj(c) · c' over the pixels of each image.

    Its angle is the rotation from the first hue to the second, with vivid pixels weighted most.

    Args:
      chromas: `[n, H, W]`, complex.
      others: `[n, H, W]`, complex.
      mask: `[H, W]`, weights of the pixels.

    Returns:
      `[n]`, complex.
    """
    return np.einsum("hw,nhw,nhw->n", mask, chromas.conj(), others, dtype=np.complex128)


def hue_error(products: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Angle between measured and true rotations of the hue: 0 to 180 degrees.

    Args:
      products: `[rotations, n]` of `chroma_product`; 0 has no hue, and the error of chance.
      rotations: `[rotations]`, degrees.

    Returns:
      `[rotations, n]`.
    """
    back = np.exp(-1j * np.radians(rotations))[:, np.newaxis]
    return np.where(products == 0, CHANCE, np.abs(np.degrees(np.angle(products * back))))


def rotation_disc(images: np.ndarray, size: float) -> np.ndarray:
    """Mask, `[H, W]`, of a disc in the centre of the images, with a fading rim around it.

    The diameter of the disc is a fraction `size` of the width, without the rim.
    """
    height, width = images.shape[1:3]
    return soft_disc(height, width, (size + 2 * _EDGE) * width, _EDGE * width)


def rotate_hue_inside(images: np.ndarray, disc: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates the hue of `[n, H, W, 3]` inside a disc, `[H, W]`."""
    weight = disc[..., np.newaxis]
    return images * (1 - weight) + rotate_hue(images, degrees) * weight


def measure_chroma_products(
    reconstructors: Sequence[Callable[[np.ndarray], np.ndarray]],
    images: np.ndarray,
    disc: np.ndarray,
    inside: np.ndarray,
    rotations: np.ndarray,
) -> np.ndarray:
    """Chroma products of photographs and reconstructions of the photographs with rotated hues.

    Args:
      reconstructors: each maps `[n, H, W, 3]` to reconstructions of that shape.
      images: `[n, H, W, 3]` in [0, 1].
      disc: `[H, W]`, where the hue is rotated.
      inside: `[H, W]`, weights of the pixels whose hue is measured.
      rotations: `[rotations]`, degrees.

    Returns:
      `[reconstructors, rotations, n]`, complex.
    """
    products = np.zeros((len(reconstructors), len(rotations), len(images)), complex)
    for start in tqdm.trange(0, len(images), _BATCH, desc="color", leave=False):
        batch = slice(start, start + _BATCH)
        original = chroma(images[batch])
        for i, degrees in enumerate(rotations):
            shown = rotate_hue_inside(images[batch], disc, degrees)
            for k, reconstruct in enumerate(reconstructors):
                products[k, i, batch] = chroma_product(original, chroma(reconstruct(shown)), inside)
    return products
