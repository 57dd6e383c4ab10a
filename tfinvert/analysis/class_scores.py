"""What is done to class probabilities to see which classes carry the image.

Zeros lie far from anything that a network saw in training, the more so where it is given logarithms
(`Feature.log_floor`). So classes are also evened out: what tells them apart goes, their sum stays.

All take probabilities, `[B, classes]` of rows that sum to one, and give such; the top are the
`count` most probable classes, 1 … classes. Of equal ones the first is the larger.
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
# What was changed, and how many classes were the top or which temperature it was.
Key = tuple[str, int | float | None]


class Variant(NamedTuple):
    """One of the changes that are compared; `count` classes are the top, where that matters."""

    name: str
    count: int | None = None
    temperature: float | None = None
    change: Change = np.asarray

    @property
    def setting(self) -> int | float | None:
        """Of variants of one name, what tells them apart."""
        return self.count or self.temperature

    @property
    def label(self) -> str:
        """What its row of images is called."""
        if self.temperature is not None:
            return f"{self.name} {self.temperature:g}"
        return self.name.replace("top", f"top {self.count}")


def keep_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The top alone: the others are zero, and the sum is one again."""
    return _shares(np.where(_top(probabilities, count), probabilities, 0.0))


def remove_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """All but the top, fewer than all: these are zero, and the sum is one again.

    Where the others' probabilities are all zero, they share the sum evenly: nothing is known.
    """
    top = _top(probabilities, count)
    rest = np.where(top, 0.0, probabilities)
    return _shares(np.where(rest.sum(1, keepdims=True) > 0, rest, ~top))


def equalize_rest(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The top as they are; the others share what is left evenly."""
    return _evened(probabilities, ~_top(probabilities, count))


def equalize_top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """The top share their sum evenly; the others are as they are."""
    return _evened(probabilities, _top(probabilities, count))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), with the sum one again: a T above 1 makes classes more alike, one below less."""
    return scipy.special.softmax(_log(probabilities) / temperature, 1)


def apply_to_logits(change: Change, logits: np.ndarray) -> np.ndarray:
    """Changes the probabilities that logits stand for, and gives logits again.

    These are log p' + log Σ exp(logit), so that unchanged probabilities give unchanged logits. What
    became zero gets the smallest logit of its row: no class of that image was less probable, and a
    network has seen such values, if never of so many classes at once. All are `[B, classes]`.
    """
    logits = np.asarray(logits, np.float64)
    back = _log(change(scipy.special.softmax(logits, 1)))
    back += scipy.special.logsumexp(logits, 1, keepdims=True)
    return np.where(np.isfinite(back), back, logits.min(1, keepdims=True))


def make_variants(counts: Sequence[int], temperatures: Sequence[float]) -> list[Variant]:
    """All that are compared, beginning with no change."""
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


def _top(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Which classes are the `count` most probable ones: bool `[B, classes]`."""
    order = np.argsort(-probabilities, 1, kind="stable")
    top = np.zeros(probabilities.shape, bool)
    np.put_along_axis(top, order[:, :count], True, 1)
    return top


def _shares(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values / values.sum(1, keepdims=True)


def _evened(probabilities: np.ndarray, which: np.ndarray) -> np.ndarray:
    values = np.asarray(probabilities, np.float64)
    total = np.where(which, values, 0.0).sum(1, keepdims=True)
    return np.where(which, total / np.maximum(which.sum(1, keepdims=True), 1), values)


def _log(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float64))
