"""Random views of photographs, cut on the host: uint8 in, uint8 out.

A view is a crop, scaled, perhaps mirrored, moved or recoloured. Everything that is drawn for it is
drawn from (seed, position), for a whole batch at once.
"""

import dataclasses
import math

import cv2
import numpy as np
from PIL import Image

from tfinvert.data.shuffling import stateless_uniform
from tfinvert.errors import InputError

Size = tuple[int, int]

# What each number drawn for a position decides.
_SCALE, _DOWN, _RIGHT, _MIRROR, _SHIFT_DOWN, _SHIFT_RIGHT, _COLOURS = range(7)
_DRAWS = _COLOURS + 5
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class RandomAugmentation:
    """How random views are cut.

    Attributes:
      size: (height, width) of a view.
      min_crop: the smallest side of a crop as a fraction of the largest crop's of that shape, in
        (0, 1]; uniform in the logarithm, so that a crop of half the side is as likely as its
        enlargement is strong.
      shift: pixels by which a view is moved at random, at most, down or up and right or left; what
        comes in at the border is mirrored.
      jitter: how strongly hue, saturation, contrast and brightness vary, in [0, 1], with quarter
        turns of square views unless it is 0.

    Raises:
      InputError: one of them is out of range.
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
                f"shift must be from 0 to below the image's sides. Received: {self.shift}"
            )
        if not 0 <= self.jitter <= 1:
            raise InputError(f"jitter must be in [0, 1]. Received: {self.jitter}")

    def reduced(self, photo: np.ndarray) -> np.ndarray:
        """A photograph as small as views of it allow: its smallest crops have the view's size.

        Uint8 `[H, W, 3]`; one that is small enough comes back as it is.
        """
        # In whole numbers, so that what was reduced once is reduced no further.
        (height, width), (rows, columns) = photo.shape[:2], self.size
        if height * columns <= width * rows:  # the height is what bounds a crop
            least = math.ceil(rows / self.min_crop)
            size = least, -(-width * least // height)
            return resize_uint8(photo, size) if height > least else photo
        least = math.ceil(columns / self.min_crop)
        size = -(-height * least // width), least
        return resize_uint8(photo, size) if width > least else photo

    def cut(self, photos: list[np.ndarray], positions: np.ndarray, seed: int) -> np.ndarray:
        """One view of each photograph, for its position: uint8 `[n, *size, 3]`."""
        views = np.empty((len(photos), *self.size, 3), np.uint8)
        draws = stateless_uniform(seed, positions, _DRAWS)
        # Once each, as one may come several times.
        reduced = {id(photo): self.reduced(photo) for photo in photos}
        for view, photo, drawn in zip(views, photos, draws, strict=True):
            view[...] = self._one(reduced[id(photo)], drawn)
        return views

    def _one(self, photo: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        largest = np.array(largest_crop(photo.shape[:2], self.size))
        wanted = np.rint(largest * self.min_crop ** drawn[_SCALE]).astype(int)
        height, width = np.minimum(np.maximum(wanted, 1), largest)
        room = photo.shape[0] - height + 1, photo.shape[1] - width + 1
        top, left = int(drawn[_DOWN] * room[0]), int(drawn[_RIGHT] * room[1])
        view = resize_uint8(photo[top : top + height, left : left + width], self.size)
        if drawn[_MIRROR] < 0.5:
            view = view[:, ::-1]
        if self.shift:
            down, right = (int(u * (2 * self.shift + 1)) for u in drawn[_SHIFT_DOWN:_COLOURS])
            around = [self.shift] * 4
            view = np.ascontiguousarray(view)
            padded = cv2.copyMakeBorder(view, *around, cv2.BORDER_REFLECT_101)
            view = padded[down : down + self.size[0], right : right + self.size[1]]
        return _jittered(view, self.jitter, drawn[_COLOURS:]) if self.jitter else view


def largest_crop(extent: Size, size: Size) -> Size:
    """Height and width of the largest crop shaped like `size`, in whole pixels."""
    (height, width), (rows, columns) = extent, size
    return (
        max(min(height, width * rows // columns), 1),
        max(min(width, height * columns // rows), 1),
    )


def resize_uint8(image: np.ndarray, size: Size) -> np.ndarray:
    """Uint8 `[H, W, 3]` of another (height, width), bilinear, antialiased where a side shrinks.

    As it is at the same size.
    """
    if image.shape[:2] == size:
        return image
    if image.shape[0] <= size[0] and image.shape[1] <= size[1]:
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    pillow = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(pillow)


def _jittered(view: np.ndarray, strength: float, drawn: np.ndarray) -> np.ndarray:
    """Other colours, by one matrix: uint8 `[H, W, 3]`."""
    if view.shape[0] == view.shape[1]:  # quarter turns, as another way to be unlike the original
        view = np.rot90(view, int(drawn[4] * 4))
    saturation, contrast = 1 - strength * drawn[1], 1 + strength * (drawn[2] - 0.5)
    brightness = 255 * 0.3 * strength * (2 * drawn[3] - 1)
    matrix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = matrix @ _hue_rotation(2 * np.pi * 0.5 * strength * (2 * drawn[0] - 1))
    middle = matrix @ view.mean((0, 1))
    whole = np.column_stack([contrast * matrix, (1 - contrast) * middle + brightness])
    return cv2.transform(np.ascontiguousarray(view), whole)


def _hue_rotation(angle: float) -> np.ndarray:
    """A turn of the colours around the grey axis, by radians."""
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (
        np.cos(angle) * np.eye(3)
        + np.sin(angle) * cross
        + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
