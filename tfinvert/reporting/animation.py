"""Animated GIFs of image sequences."""

import io

import numpy as np
from PIL import Image

from tfinvert.reporting.grids import to_uint8

_END_DURATION = 4  # of the first and last frame, as a multiple of the other frames' duration


def animation(frames: np.ndarray, *, scale: int = 4, milliseconds: int = 120) -> bytes:
    """Encodes a GIF that plays from the first frame to the last and back in an endless loop.

    All frames share one palette, so that static regions do not flicker.

    Args:
      frames: `[n, H, W, 3]`, n ≥ 2, float in [0, 1] (values outside are clipped) or uint8.
      scale: integer factor ≥ 1 by which frames are enlarged (nearest neighbour).
      milliseconds: duration of a frame, a multiple of 10; the first and last frame are shown four
        times as long.

    Returns:
      The bytes of the file, which are deterministic.

    Raises:
      ValueError: `frames` has another shape or dtype or contains NaN, or `scale` or
        `milliseconds` is out of range.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or len(frames) < 2 or 0 in frames.shape:
        raise ValueError(f"`frames` must be [n, H, W, 3] with n >= 2. Received: {frames.shape}")
    if int(scale) != scale or scale < 1 or milliseconds < 10:
        raise ValueError(
            "`scale` must be an integer >= 1 and `milliseconds` >= 10. Received: "
            f"scale={scale!r}, milliseconds={milliseconds!r}"
        )
    images = np.ascontiguousarray(to_uint8(frames))
    size = (images.shape[2] * scale, images.shape[1] * scale)
    # The palette is chosen on all frames, stacked vertically.
    tall = Image.fromarray(images.reshape(-1, *images.shape[2:]))
    palette = tall.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    # Enlarged after dithering, because dithering enlarged frames makes the file much larger.
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
        duration=[milliseconds * (_END_DURATION if i in ends else 1) for i in order],
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
