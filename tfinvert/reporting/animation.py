"""Animations: frames that change into each other, as a GIF."""

import io

import numpy as np
from PIL import Image

from tfinvert.reporting.grids import to_uint8

_HOLD = 4  # frames that the first and the last are shown for


def animation(frames: np.ndarray, *, scale: int = 4, milliseconds: int = 120) -> bytes:
    """A GIF that goes from the first frame to the last and back again, for ever.

    All frames share one palette, so that what stands still does not flicker.

    Args:
      frames: `[n, H, W, 3]`, n ≥ 2, float in [0, 1] (values outside are clipped) or uint8.
      scale: whole factor ≥ 1 by which they are enlarged (nearest neighbour).
      milliseconds: that a frame is shown, the two ends four times as long; GIF counts in tens.

    Returns:
      The file, the same for the same frames.

    Raises:
      ValueError: `frames` has another shape or dtype or contains NaN, or `scale` or
        `milliseconds` is out of range.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or len(frames) < 2 or 0 in frames.shape:
        raise ValueError(f"`frames` must be [n, H, W, 3] with n >= 2. Received: {frames.shape}")
    if int(scale) != scale or scale < 1 or milliseconds < 10:
        raise ValueError(
            "`scale` must be a whole number >= 1 and `milliseconds` >= 10. Received: "
            f"scale={scale!r}, milliseconds={milliseconds!r}"
        )
    images = np.ascontiguousarray(to_uint8(frames))
    size = (images.shape[2] * scale, images.shape[1] * scale)
    # The colours of all frames, chosen on all of them below each other.
    tall = Image.fromarray(images.reshape(-1, *images.shape[2:]))
    palette = tall.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    # Enlarged once the colours are dithered, or the file would be much larger.
    pictures = [
        Image.fromarray(image).quantize(palette=palette).resize(size, Image.Resampling.NEAREST)
        for image in images
    ]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    ends = (0, len(pictures) - 1)
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=[pictures[i] for i in order[1:]],
        duration=[milliseconds * (_HOLD if i in ends else 1) for i in order],
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
