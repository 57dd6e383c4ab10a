"""Changes of class probabilities that show which classes carry information about the image.

Zeros are far from anything a network was trained on, even more so where it takes logarithms
(`Feature.log_floor`). Classes are therefore also evened out: differences among them vanish, and
their sum stays.

All functions take probabilities, `[B, classes]` with rows that sum to one, and return such. The top
are the `count` most probable classes, 1 … classes; among equal ones, the first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

TOP_ONLY, TOP_REMOVED = "top only", "all but the top"
REST_EQUALIZED, TOP_EQUALIZED = "all but the top evened out", "top evened out"
ALL = "all classes"
TEMPERED = "temperature"

Change = Callable[[np.ndarray], np.ndarray]
# The name of a variant, and its number of top classes or its temperature.
Key = tuple[str, int | float | None]


class Variant(NamedTuple):
    """A change of class probabilities.

    Attributes:
      name: what is changed, the same for all counts or temperatures.
      count: number of top classes, where it has one.
      temperature: temperature, where it has one.
      change: the change.
    """

    name: str
    count: int | None = None
    temperature: float | None = None
    change: Change = np.asarray

    @property
    def setting(self) -> int | float | None:
        """The count or temperature, which distinguishes variants of one name."""
        return self.count or self.temperature

    @property
    def label(self) -> str:
        """Label of its row of images."""
        if self.temperature is not None:
            return f"{self.name} {self.temperature:g}"
        return self.name.replace("top", f"top {self.count}")


def keep_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Zeroes all but the top, and scales the sum back to one."""
    return _normalize(np.where(_is_top(probabilities, count), probabilities, 0.0))


def remove_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Zeroes the top, fewer than all classes, and scales the sum back to one.

    Where all other probabilities are zero, they share the sum evenly.
    """
    top = _is_top(probabilities, count)
    rest = np.where(top, 0.0, probabilities)
    return _normalize(np.where(rest.sum(1, keepdims=True) > 0, rest, ~top))


def equalize_rest(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Keeps the top, and sets all others to their mean."""
    return _equalize(probabilities, ~_is_top(probabilities, count))


def equalize_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Sets the top to their mean, and keeps all others."""
    return _equalize(probabilities, _is_top(probabilities, count))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), scaled to a sum of one: T above 1 flattens, T below 1 sharpens."""
    return scipy.special.softmax(_log(probabilities) / temperature, 1)


def apply_to_logits(change: Change, logits: np.ndarray) -> np.ndarray:
    """Changes the probabilities that logits, `[B, classes]`, stand for, and returns logits.

    These are log p' + log Σ exp(logit), so unchanged probabilities give unchanged logits. Where p'
    is zero, it is the smallest logit of the row: a value that occurs in training, though never for
    that many classes at once.
    """
    logits = np.asarray(logits, np.float64)
    changed = _log(change(scipy.special.softmax(logits, 1)))
    changed += scipy.special.logsumexp(logits, 1, keepdims=True)
    return np.where(np.isfinite(changed), changed, logits.min(1, keepdims=True))


def make_variants(counts: Sequence[int], temperatures: Sequence[float]) -> list[Variant]:
    """All variants, of which the first changes nothing."""
    changes = {
        TOP_ONLY: keep_top,
        TOP_REMOVED: remove_top,
        REST_EQUALIZED: equalize_rest,
        TOP_EQUALIZED: equalize_top,
    }
    return [
        Variant(ALL),
        *(
            Variant(name, count=count, change=functools.partial(change, count=count))
            for name, change in changes.items()
            for count in counts
        ),
        *(
            Variant(
                TEMPERED,
                temperature=float(t),
                change=functools.partial(apply_temperature, temperature=t),
            )
            for t in temperatures
        ),
    ]


def _is_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Mask of the `count` most probable classes: bool `[B, classes]`."""
    order = np.argsort(-probabilities, 1, kind="stable")
    top = np.zeros(probabilities.shape, bool)
    np.put_along_axis(top, order[:, :count], True, 1)
    return top


def _normalize(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values / values.sum(1, keepdims=True)


def _equalize(probabilities: np.ndarray, mask: np.ndarray) -> np.ndarray:
    values = np.asarray(probabilities, np.float64)
    total = np.where(mask, values, 0.0).sum(1, keepdims=True)
    return np.where(mask, total / np.maximum(mask.sum(1, keepdims=True), 1), values)


def _log(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float64))
