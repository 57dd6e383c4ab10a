"""Random augmentation on the GPU: crops, shifts and flips, as in `tfinvert.data.augmentation`.

The photographs are in the GPU's memory; each batch samples with replacement.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from photograph_arrays import Photographs

from tfinvert.features.sift import CHANNELS, DESCRIPTOR_UNIT

Arrays = dict[str, Any]


class Cut(NamedTuple):
    """Parameters of the augmentation.

    Attributes:
      size: side of a view in pixels.
      min_crop: smallest side of a crop, as a fraction of the photograph's shorter side.
      shift: largest random translation of a thumbnail in pixels, with reflection padding.
      mix: share of thumbnails in a batch.
    """

    size: int
    min_crop: float = 1.0
    shift: int = 0
    mix: float = 0.0


def on_device(photographs: Photographs) -> Photographs:
    """Copies photographs to the GPU's memory."""
    return Photographs(*map(jnp.asarray, photographs))


def batch(key: jax.Array, data: Arrays, count: int, cut: Cut) -> tuple[jax.Array, Any]:
    """Draws views, float32 `[count, size, size, 3]` in [0, 1], and their features or None.

    `data` has `photographs`, `thumbnails` or both, depending on `cut.mix`; or the arrays of
    `sift_views.py`, which alone have features.
    """
    if "views" in data:
        chosen = jax.random.randint(key, (count,), 0, len(data["views"]))
        views = data["views"][chosen].astype(jnp.float32) / 255
        return views, sift_grids({name: array[chosen] for name, array in data.items()})
    first, second = jax.random.split(key)
    thumbnails = round(count * cut.mix)
    parts = []
    if thumbnails < count:
        photographs = data["photographs"]
        parts.append(_crops(first, photographs, count - thumbnails, cut.size, cut.min_crop))
    if thumbnails:
        few = _shifted(second, data["thumbnails"], thumbnails, cut.shift)
        parts.append(_crops(second, few, thumbnails, cut.size, 1.0, draw=False))
    return jnp.concatenate(parts), None


def sift_grids(arrays: Arrays) -> jax.Array:
    """Rebuilds SIFT grids, `[n, rows, columns, 133]`, from their occupied cells."""
    rest = arrays["places"].astype(jnp.float32)
    known = jnp.concatenate([arrays["descriptors"].astype(jnp.float32) / DESCRIPTOR_UNIT, rest], -1)
    count, side = len(known), arrays["views"].shape[1] // 4
    grids = jnp.zeros((count, side * side + 1, CHANNELS))  # the last cell takes the padding
    cells = arrays["cells"].astype(jnp.int32)
    grids = grids.at[jnp.arange(count)[:, None], cells].set(known)
    return grids[:, :-1].reshape(count, side, side, CHANNELS)


def _shifted(key: jax.Array, photographs: Photographs, count: int, shift: int) -> Photographs:
    """Draws photographs without padding and translates them."""
    which, where = jax.random.split(key)
    chosen = jax.random.randint(which, (count,), 0, len(photographs.pixels))
    pixels, extents = photographs.pixels[chosen], photographs.extents[chosen]
    if shift:
        around = (0, 0), (shift, shift), (shift, shift), (0, 0)
        offsets = jax.random.randint(where, (count, 2), 0, 2 * shift + 1)
        shape = pixels.shape[1:]
        pixels = jax.vmap(lambda image, offset: jax.lax.dynamic_slice(image, (*offset, 0), shape))(
            jnp.pad(pixels, around, "reflect"), offsets
        )
    return Photographs(pixels, extents)


def _crops(
    key: jax.Array,
    photographs: Photographs,
    count: int,
    size: int,
    min_crop: float,
    draw: bool = True,
) -> jax.Array:
    """Crops squares of drawn photographs, or of all in order, and flips half of them."""
    keys = jax.random.split(key, 4)
    pixels, extents = photographs
    if draw:
        chosen = jax.random.randint(keys[0], (count,), 0, len(pixels))
        pixels, extents = pixels[chosen], extents[chosen]
    shorter = extents[:, :2].min(1).astype(jnp.float32)
    side = jnp.round(shorter * min_crop ** jax.random.uniform(keys[1], (count,)))
    room = extents[:, :2] - side[:, None]
    corner = jnp.floor(jax.random.uniform(keys[2], (count, 2)) * (room + 1))
    views = jax.vmap(_resized, (0, 0, 0, None))(pixels, side, corner, size)
    lies = extents[:, 2, None, None, None] > 0
    views = jnp.where(lies, jnp.rot90(views, -1, (1, 2)), views)
    mirrored = jax.random.bernoulli(keys[3], 0.5, (count, 1, 1, 1))
    views = jnp.where(mirrored, views[:, :, ::-1], views)
    return jnp.clip(jnp.round(views), 0, 255) / 255  # integers, as in image files


def _resized(image: jax.Array, side: jax.Array, corner: jax.Array, size: int) -> jax.Array:
    """Resizes a crop, bilinear and antialiased, as two matrix products.

    Crops of all sizes are thus one computation.
    """
    rows, columns = (
        _weights(extent, side, at, size) for extent, at in zip(image.shape[:2], corner, strict=True)
    )
    rows = jnp.einsum("ih,hwc->iwc", rows, image.astype(jnp.float32))
    return jnp.einsum("jw,iwc->ijc", columns, rows)


def _weights(extent: int, side: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """Interpolation weights from a line of pixels to a view's, `[size, extent]`, 0 outside."""
    scale = side / size
    centres = (jnp.arange(size) + 0.5) * scale + start
    places = jnp.arange(extent) + 0.5
    distance = jnp.abs(places - centres[:, None]) / jnp.maximum(scale, 1.0)
    within = (places > start) & (places < start + side)
    weights = jnp.maximum(1 - distance, 0) * within
    return weights / weights.sum(1, keepdims=True)
