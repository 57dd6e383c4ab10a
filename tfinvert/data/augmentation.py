"""Random augmentation of images on the host: uint8 in, uint8 out.

A view of an image is a crop that is resized and optionally flipped, shifted and recoloured. All
random numbers are functions of (seed, position), drawn for a whole batch at once.
"""

import dataclasses
import math

import cv2
import numpy as np
from PIL import Image

from tfinvert.data.shuffling import stateless_uniform
from tfinvert.errors import InputError

Size = tuple[int, int]

# The use of each random number of a position.
_SCALE, _TOP, _LEFT, _FLIP, _SHIFT_DOWN, _SHIFT_RIGHT, _COLOR = range(7)
_NUM_DRAWS = _COLOR + 5
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class RandomAugmentation:
    """Random crops, flips, shifts and colour jitter.

    Attributes:
      size: (height, width) of a view.
      min_crop: the smallest crop side as a fraction of the side of the largest crop with the aspect
        ratio of `size`, in (0, 1]. Crop sides are log-uniformly distributed.
      shift: maximum random translation in pixels, in each direction; the border is filled by
        reflection.
      jitter: strength of the random hue, saturation, contrast and brightness, in [0, 1]; unless it
        is 0, square views are also rotated by random multiples of 90°.

    Raises:
      InputError: an attribute is out of range.
    """

    size: Size
    min_crop: float = 1.0
    shift: int = 0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.min_crop <= 1:
            raise InputError(f"min_crop must be in (0, 1]. Received: {self.min_crop}")
        if not 0 <= self.shift < min(self.size):
            raise InputError(
                f"shift must be at least 0 and less than the image sides. Received: {self.shift}"
            )
        if not 0 <= self.jitter <= 1:
            raise InputError(f"jitter must be in [0, 1]. Received: {self.jitter}")

    def shrink(self, image: np.ndarray) -> np.ndarray:
        """Reduces an image, uint8 `[H, W, 3]`, until its smallest crops have the size of a view.

        An image that is already small enough is returned unchanged.
        """
        # In integers, so that a reduced image is not reduced again.
        (height, width), (rows, columns) = image.shape[:2], self.size
        if height * columns <= width * rows:  # the height limits the largest crop
            side = math.ceil(rows / self.min_crop)
            size = side, -(-width * side // height)
            return resize_uint8(image, size) if height > side else image
        side = math.ceil(columns / self.min_crop)
        size = -(-height * side // width), side
        return resize_uint8(image, size) if width > side else image

    def apply(self, images: list[np.ndarray], positions: np.ndarray, seed: int) -> np.ndarray:
        """Cuts the view of each image that belongs to its position: uint8 `[n, *size, 3]`."""
        views = np.empty((len(images), *self.size, 3), np.uint8)
        draws = stateless_uniform(seed, positions, _NUM_DRAWS)
        # An image may occur several times in a batch; it is reduced only once.
        reduced = {id(image): self.shrink(image) for image in images}
        for view, image, numbers in zip(views, images, draws, strict=True):
            view[...] = self._cut_view(reduced[id(image)], numbers)
        return views

    def _cut_view(self, image: np.ndarray, draws: np.ndarray) -> np.ndarray:
        largest = np.array(largest_crop(image.shape[:2], self.size))
        wanted = np.rint(largest * self.min_crop ** draws[_SCALE]).astype(int)
        height, width = np.minimum(np.maximum(wanted, 1), largest)
        room = image.shape[0] - height + 1, image.shape[1] - width + 1
        top, left = int(draws[_TOP] * room[0]), int(draws[_LEFT] * room[1])
        view = resize_uint8(image[top : top + height, left : left + width], self.size)
        if draws[_FLIP] < 0.5:
            view = view[:, ::-1]
        if self.shift:
            down, right = (int(u * (2 * self.shift + 1)) for u in draws[_SHIFT_DOWN:_COLOR])
            padding = [self.shift] * 4
            view = np.ascontiguousarray(view)
            padded = cv2.copyMakeBorder(view, *padding, cv2.BORDER_REFLECT_101)
            view = padded[down : down + self.size[0], right : right + self.size[1]]
        return _jitter_colors(view, self.jitter, draws[_COLOR:]) if self.jitter else view


def largest_crop(extent: Size, size: Size) -> Size:
    """(height, width) of the largest crop with the aspect ratio of `size`, in whole pixels."""
    (height, width), (rows, columns) = extent, size
    return (
        max(min(height, width * rows // columns), 1),
        max(min(width, height * columns // rows), 1),
    )


def resize_uint8(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a uint8 image `[H, W, 3]` to (height, width) bilinearly, antialiased when reducing.

    An image that has that size is returned unchanged.
    """
    if image.shape[:2] == size:
        return image
    if image.shape[0] <= size[0] and image.shape[1] <= size[1]:
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    pillow = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(pillow)


def _jitter_colors(view: np.ndarray, strength: float, draws: np.ndarray) -> np.ndarray:
    """Changes the colours of a view, uint8 `[H, W, 3]`, by a single affine map."""
    if view.shape[0] == view.shape[1]:
        view = np.rot90(view, int(draws[4] * 4))
    saturation, contrast = 1 - strength * draws[1], 1 + strength * (draws[2] - 0.5)
    brightness = 255 * 0.3 * strength * (2 * draws[3] - 1)
    matrix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = matrix @ _hue_rotation(2 * np.pi * 0.5 * strength * (2 * draws[0] - 1))
    mean = matrix @ view.mean((0, 1))
    affine = np.column_stack([contrast * matrix, (1 - contrast) * mean + brightness])
    return cv2.transform(np.ascontiguousarray(view), affine)


def _hue_rotation(angle: float) -> np.ndarray:
    """Matrix that rotates colours around the grey axis by an angle in radians."""
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (
        np.cos(angle) * np.eye(3)
        + np.sin(angle) * cross
        + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
