"""Photographs beside their reconstructions, and a summary of an inverter, for notebooks."""

import dataclasses
from collections.abc import Iterator
from html import escape
from typing import Any

import matplotlib
import numpy as np
import skimage.data

from tfinvert import metrics
from tfinvert.common.images import resize_images
from tfinvert.data.cropping import crop_and_resize
from tfinvert.inverter import Inverter
from tfinvert.inverter.inputs import read_images
from tfinvert.reporting.formatting import format_cell
from tfinvert.reporting.grids import to_pillow
from tfinvert.reporting.report import embed_image

# The value, mean over colours, that error and uncertainty maps show as brightest.
MAP_MAXIMUM = 0.5
_COLORMAP = matplotlib.colormaps["inferno"]
_MAX_IMAGES = 12  # that are shown; a notebook stores each of its pictures
_MAX_SIDE = 256  # of a picture, in pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Images and their reconstructions, which a notebook shows as pictures.

    For one image, `image` and `reconstruction` are arrays `[H, W, 3]` and the errors are numbers.
    For several, they are arrays `[B, H, W, 3]`, or lists if the images differ in size, and the
    errors are arrays `[B]`.

    Attributes:
      image: float32 in [0, 1], of the size of the reconstruction.
      reconstruction: float32 in [0, 1].
      error: mean absolute difference, from 0 to 1.
      normalized_error: see `normalized_error`; None if the inverter's card has no N.
    """

    image: np.ndarray | list[np.ndarray]
    reconstruction: np.ndarray | list[np.ndarray]
    error: float | np.ndarray
    normalized_error: float | np.ndarray | None = None

    def __repr__(self) -> str:
        rows = list(self._rows())
        errors = f"error={np.mean(self.error):.3f}"
        if self.normalized_error is not None:
            errors += f", normalized_error={np.mean(self.normalized_error):.3f}"
        if np.ndim(self.error):
            return f"Comparison({len(rows)} images, mean {errors})"
        height, width = rows[0][0].shape[:2]
        return f"Comparison({height}×{width} pixels, {errors})"

    def _repr_html_(self) -> str:
        rows = list(self._rows())
        parts = [_row_html(*row) for row in rows[:_MAX_IMAGES]]
        if len(rows) > _MAX_IMAGES:
            parts.append(f"<p>{len(rows) - _MAX_IMAGES} more images are not shown.</p>")
        return "".join(parts)

    def _rows(self) -> Iterator[tuple[np.ndarray, np.ndarray, float, float | None]]:
        """Yields image, reconstruction and both errors of each image."""
        normalized = self.normalized_error
        if not np.ndim(self.error):
            yield self.image, self.reconstruction, self.error, normalized
            return
        normalized = [None] * len(self.error) if normalized is None else normalized
        yield from zip(self.image, self.reconstruction, self.error, normalized, strict=True)


def compare(inverter: Inverter, images: Any) -> Comparison:
    """Compares images with their reconstructions; see `Inverter.show`."""
    batch = read_images(inverter.decoder, images)
    reconstructions = inverter.reconstruct(batch.values)
    targets = [
        resize_images(image[np.newaxis], reconstruction.shape[:2])[0]
        for image, reconstruction in zip(batch.values, reconstructions, strict=True)
    ]
    pairs = list(zip(targets, reconstructions, strict=True))
    errors = np.array([np.abs(image - other).mean() for image, other in pairs], np.float32)
    normalized = [normalized_error(inverter, *pair) for pair in pairs]
    normalized = None if None in normalized else np.array(normalized, np.float32)
    if batch.single:
        normalized = None if normalized is None else float(normalized[0])
        return Comparison(targets[0], reconstructions[0], float(errors[0]), normalized)
    if isinstance(reconstructions, np.ndarray):
        targets = np.stack(targets) if targets else np.zeros_like(reconstructions)
    return Comparison(targets, reconstructions, errors, normalized)


def normalized_error(
    inverter: Inverter, image: np.ndarray, reconstruction: np.ndarray
) -> float | None:
    """Computes ‖x - x̂‖ / N of one image `[H, W, 3]`; None if the inverter's card has no N.

    N is the mean distance between two of the images that the inverter was evaluated on, according
    to its card. For another image size it is scaled by the square root of the number of pixels.
    """
    scale = inverter.card.get("metrics", {}).get("mean_pairwise_distance")
    if not scale:
        return None
    pixels, evaluation_pixels = np.prod(image.shape[:2]), np.prod(inverter.output_size)
    distance = metrics.per_image_distance(image[np.newaxis], reconstruction[np.newaxis])[0]
    return float(distance / (scale * np.sqrt(pixels / evaluation_pixels)))


def color_map(values: np.ndarray) -> np.ndarray:
    """Maps the mean over colours to colours: `[H, W, 3]` to RGB `[H, W, 3]` in [0, 1].

    Values from 0 to `MAP_MAXIMUM` become brighter; larger ones are as bright as that.
    """
    return _COLORMAP(values.mean(-1) / MAP_MAXIMUM)[..., :3]


def summary_html(inverter: Inverter) -> str:
    """Formats a table of an inverter's properties, above an example reconstruction."""
    feature, card = inverter.feature, inverter.card
    height, width = feature.image_shape[:2]
    size = f"{height}×{width} pixels"
    scores = card.get("metrics", {})
    rows = {
        "feature": f"{feature.name}, {list(feature.spec.shape)}",
        "image size": f"any, trained at {size}" if inverter.any_size else size,
        "parameters": format_cell(inverter.network.count_params()),
        "uncertainty": "yes" if inverter.uncertainty_head else "no",
        "samples": "yes" if inverter.flow else "no",
    }
    if "normalized_error" in scores:
        rows["normalised error"] = format_cell(scores["normalized_error"])
        if "validation_data" in card:
            rows["evaluated on"] = card["validation_data"]
    if "data" in card:
        rows["trained on"] = card["data"]
    cells = "".join(
        f'<tr><th style="text-align: left">{name}</th>'
        f'<td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    title = f"Inverter {card.get('shipped_as', '')}".strip()
    example = compare(inverter, crop_and_resize(skimage.data.chelsea(), (height, width)))
    return f"<p><b>{escape(title)}</b></p><table>{cells}</table>{example._repr_html_()}"


def _row_html(
    image: np.ndarray, reconstruction: np.ndarray, error: float, normalized: float | None
) -> str:
    caption = f"mean absolute error {error:.3f}"
    if normalized is not None:
        caption += f", normalised {normalized:.3f}"
    pictures = {
        "photograph": image,
        "reconstruction": reconstruction,
        caption: color_map(np.abs(reconstruction - image)),
    }
    figures = "".join(_figure_html(picture, caption) for caption, picture in pictures.items())
    return f'<div style="display: flex; flex-wrap: wrap; gap: 12px">{figures}</div>'


def _figure_html(image: np.ndarray, caption: str) -> str:
    """Formats a picture of at most `_MAX_SIDE` pixels, to which small ones are enlarged."""
    picture = to_pillow(image)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    factor = max(_MAX_SIDE // max(picture.size), 1)
    size = f' width="{picture.width * factor}" height="{picture.height * factor}"'
    style = ' style="image-rendering: pixelated"' if factor > 1 else ""
    element = embed_image(np.asarray(picture), caption, size + style)
    return (
        f'<figure style="margin: 0 0 8px">{element}<figcaption>{escape(caption)}</figcaption>'
        "</figure>"
    )
