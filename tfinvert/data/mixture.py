"""Mixtures: several sources, each with a fixed share of the training images."""

from __future__ import annotations

import dataclasses
import fractions
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfinvert.config.choices import MIXTURE_FORMAT
from tfinvert.data.augmentation import RandomAugmentation, Size
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.shuffling import shuffled_indices
from tfinvert.data.sources import Source, compute_digest
from tfinvert.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

MAX_CYCLE = 1000
# Types of the options of a part, which are `Settings` of the same name.
OPTIONS: Mapping[str, Callable[[str], float]] = {
    "min_crop": float,
    "shift": int,
    "color_jitter": float,
}
_LARGE: Size = (1 << 31, 1 << 31)
# A plus sign or a comma in a path divides only before a share or an option.
_BETWEEN_PARTS = re.compile(r"\+(?=[-\d./]+:)")
_BEFORE_OPTION = re.compile(rf",(?=(?:{'|'.join(OPTIONS)})=)")


@dataclasses.dataclass(frozen=True)
class Part:
    """A source in a mixture.

    Attributes:
      share: share of the training images, relative to the other parts' shares.
      data: the `--data` value of the source.
      options: augmentation of this source, which has priority over a run's settings; keys are in
        `OPTIONS`.
    """

    share: fractions.Fraction
    data: str
    options: Mapping[str, float]


def parse_mixture(text: str) -> list[Part]:
    """Parses the part of a `--data` value that follows `mix:`.

    Raises:
      InputError: the text has another form.
    """
    parts = [_parse_part(part, text) for part in _BETWEEN_PARTS.split(text)]
    if len(parts) < 2:
        raise _format_error("needs two sources or more", text)
    return parts


def _parse_part(part: str, text: str) -> Part:
    share, _, rest = part.partition(":")
    data, *options = _BEFORE_OPTION.split(rest)
    try:
        weight = fractions.Fraction(share)
        pairs = [option.split("=") for option in options]
        values = {name: OPTIONS[name](value) for name, value in pairs}
    except (ValueError, ZeroDivisionError) as error:
        raise _format_error(f"has a part that cannot be read, {part!r}", text) from error
    if weight <= 0:
        raise _format_error(f"needs shares above 0, not {share}", text)
    if not data or data.startswith("mix:"):
        raise _format_error("needs a source, which is no mixture, after each share", text)
    if len(values) < len(options):
        raise _format_error(f"repeats an option in {part!r}", text)
    # Checks the ranges, as far as they do not depend on the size of the views.
    RandomAugmentation(
        _LARGE, values.get("min_crop", 1.0), values.get("shift", 0), values.get("color_jitter", 0.0)
    )
    return Part(weight, data, values)


def _format_error(problem: str, text: str) -> InputError:
    return InputError(f"a mixture {problem}; write {MIXTURE_FORMAT}. Received: mix:{text}")


class Mixture(Source):
    """Several sources, each with a fixed share of the images at all positions of the stream.

    The parts alternate in a fixed cycle, so that among any consecutive images a part has its share
    to within one image. A part's own images are in the order that its source would have alone. For
    evaluation, the images of all parts follow one another.

    Args:
      name: the `--data` value.
      parts: the parts.
      sources: the source of each part.

    Attributes:
      parts: the parts.
      sources: the source of each part.

    Raises:
      InputError: the cycle of the shares is too long.
    """

    def __init__(self, name: str, parts: Sequence[Part], sources: Sequence[Source]):
        self.name, self.parts, self.sources = name, tuple(parts), tuple(sources)
        self._begins = np.cumsum([0, *map(len, self.sources)])
        counts = _whole_shares([part.share for part in self.parts])
        self._cycle = _spread_evenly(counts)
        self._counts = np.array(counts)
        # How many images of the same part precede each place of the cycle.
        self._ranks = np.array(
            [(self._cycle[:place] == part).sum() for place, part in enumerate(self._cycle)]
        )

    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    def evaluation_size(self) -> int:
        """The number of images of all parts."""
        return sum(source.evaluation_size for source in self.sources)

    def parts_at(self, positions: np.ndarray) -> np.ndarray:
        """Returns the index of the part at each position of the stream: int64 `[n]`."""
        return self._cycle[np.asarray(positions) % len(self._cycle)]

    def indices_at(self, seed: int, positions: np.ndarray) -> np.ndarray:
        """See `Source.indices_at`."""
        cycles, places = np.divmod(np.asarray(positions, np.int64), len(self._cycle))
        parts = self._cycle[places]
        own_positions = cycles * self._counts[parts] + self._ranks[places]
        indices = np.empty_like(own_positions)
        for part, source in enumerate(self.sources):
            mask = parts == part
            own = shuffled_indices(len(source), seed, own_positions[mask])
            indices[mask] = self._begins[part] + own
        return indices

    def training_image(self, index: int) -> np.ndarray:
        """See `Source.training_image`."""
        part = int(np.searchsorted(self._begins, index, side="right")) - 1
        return self.sources[part].training_image(index - int(self._begins[part]))

    def release(self) -> None:
        """See `Source.release`."""
        for source in self.sources:
            source.release()

    def evaluation_images(self) -> tf.data.Dataset:
        """See `Source.evaluation_images`."""
        first, *others = (source.evaluation_images() for source in self.sources)
        for other in others:
            first = first.concatenate(other)
        return first

    def identity(self) -> str:
        """See `Source.identity`; computed from the shares and the sources."""
        return compute_digest(
            text.encode()
            for part, source in zip(self.parts, self.sources, strict=True)
            for text in (str(part.share), source.identity())
        )


class MixtureAugmentation:
    """The random augmentation of a mixture: that of the part at each position.

    Args:
      mixture: the mixture.
      augmentations: the augmentation of each part; all have one size.

    Attributes:
      size: (height, width) of a view.
      min_crop: see `RandomAugmentation`; one value for each part.
      shift: one value for each part.
      jitter: one value for each part.
    """

    def __init__(self, mixture: Mixture, augmentations: Sequence[RandomAugmentation]):
        self._mixture, self._augmentations = mixture, augmentations
        self.size: Size = augmentations[0].size
        self.min_crop = [each.min_crop for each in augmentations]
        self.shift = [each.shift for each in augmentations]
        self.jitter = [each.jitter for each in augmentations]

    def apply(self, images: list[np.ndarray], positions: np.ndarray, seed: int) -> np.ndarray:
        """Cuts the view of each image that belongs to its position: uint8 `[n, *size, 3]`."""
        views = np.empty((len(images), *self.size, 3), np.uint8)
        parts = self._mixture.parts_at(positions)
        for part, augmentation in enumerate(self._augmentations):
            rows = np.flatnonzero(parts == part)
            own = [images[row] for row in rows]
            views[rows] = augmentation.apply(own, positions[rows], seed)
        return views


def divide_cache(image_cache: DecodedImageCache | None, count: int) -> list:
    """Returns a cache for each of `count` parts, which divide a cache's memory; None for None.

    They store images unchanged, because each part has its own views.
    """
    if image_cache is None:
        return [None] * count
    return [DecodedImageCache(memory_gb=image_cache.memory_gb / count) for _ in range(count)]


def _whole_shares(shares: Sequence[fractions.Fraction]) -> list[int]:
    """Returns the smallest whole numbers that are related as the shares are."""
    denominator = math.lcm(*(share.denominator for share in shares))
    counts = [int(share * denominator) for share in shares]
    divisor = math.gcd(*counts)
    counts = [count // divisor for count in counts]
    if sum(counts) > MAX_CYCLE:
        raise InputError(
            f"the shares of a mixture must be related as whole numbers with a sum of at most "
            f"{MAX_CYCLE}; round them. Received: {', '.join(map(str, shares))}"
        )
    return counts


def _spread_evenly(counts: Sequence[int]) -> np.ndarray:
    """Returns a cycle in which part i occurs `counts[i]` times, evenly spread: int64 `[sum]`."""
    total = sum(counts)
    shares, taken = np.array(counts), np.zeros(len(counts), np.int64)
    cycle = np.empty(total, np.int64)
    for place in range(total):
        # The part that is furthest behind its share, in units of 1 / total.
        part = int(np.argmax((place + 1) * shares - taken * total))
        cycle[place] = part
        taken[part] += 1
    return cycle
