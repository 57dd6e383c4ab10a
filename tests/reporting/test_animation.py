"""Animated GIFs, read back with Pillow."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tfinvert.reporting.animation import animation


def read(gif):
    with Image.open(io.BytesIO(gif)) as picture:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(picture)]
        durations = [f.info["duration"] for f in ImageSequence.Iterator(picture)]
        return frames, durations, picture.info["loop"]


def flat(*levels):
    """Uniform grey frames of 3×5 pixels, with a red pixel in the top left corner."""
    frames = np.stack([np.full((3, 5, 3), level, np.uint8) for level in levels])
    frames[:, 0, 0] = 255, 0, 0
    return frames


def test_frames_play_forwards_and_backwards_in_a_loop():
    frames = flat(10, 90, 200)
    found, durations, loop = read(animation(frames, scale=1, milliseconds=50))
    assert loop == 0  # endless
    assert [int(f[-1, -1, 0]) for f in found] == [10, 90, 200, 90]
    assert durations == [200, 50, 200, 50]
    for frame, expected in zip(found, frames[[0, 1, 2, 1]], strict=True):
        np.testing.assert_array_equal(frame, expected)  # the palette has room for these colours


def test_frames_are_enlarged_by_whole_pixels():
    frames = flat(0, 128)
    found, _, _ = read(animation(frames, scale=3))
    np.testing.assert_array_equal(found[1], frames[1].repeat(3, 0).repeat(3, 1))


def test_photographs_keep_their_colours_approximately(photos):
    found, _, _ = read(animation(photos[:3], scale=1))
    assert np.abs(found[2] / 255.0 - photos[2]).mean() < 0.04
    assert animation(photos[:3]) == animation(photos[:3])


def test_equal_frames_are_kept():
    found, durations, _ = read(animation(flat(10, 90, 90, 200), scale=1, milliseconds=50))
    assert sum(durations) == 200 + 50 + 50 + 200 + 50 + 50
    assert int(found[-1][-1, -1, 0]) == 90


@pytest.mark.parametrize(
    ("frames", "settings", "message"),
    [
        (flat(1), {}, "n >= 2"),
        (flat(1, 2)[0], {}, "n >= 2"),
        (flat(1, 2)[..., :2], {}, "RGB"),
        (flat(1, 2) / np.nan, {}, "NaN"),
        (flat(1, 2), {"scale": 0}, "scale=0"),
        (flat(1, 2), {"scale": 1.5}, "scale=1.5"),
        (flat(1, 2), {"milliseconds": 1}, "milliseconds=1"),
    ],
)
def test_invalid_animation(frames, settings, message):
    with pytest.raises(ValueError, match=message):
        animation(frames, **settings)
