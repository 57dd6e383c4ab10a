"""What `--loss` says: which losses are added up, and with which weights; without TensorFlow."""

import math
from typing import NamedTuple

from tfinvert.config.registry import LOSSES
from tfinvert.errors import InputError

ACCEPTED = "NAME[:WEIGHT], several with commas between, as squared:10,perceptual:1"
_OF_LAYERS = "perceptual"


class LossTerm(NamedTuple):
    """A summand of a loss.

    Attributes:
      name: a key of `losses.LOSSES`.
      layers: of a perceptual loss, what is compared, see `losses.perceptual`; "" for its own.
      weight: above 0.
    """

    name: str
    layers: str
    weight: float


def parse_loss(text: str) -> list[LossTerm]:
    """The terms of a loss, as `squared:10,perceptual:1` or `perceptual=squeezenet/fire3+fire9`.

    Raises:
      InputError: it is not of that form, a name is unknown or comes twice, a weight is not a
        finite number above 0, or a loss without layers is given some.
    """
    terms = [_term(part, text) for part in text.split(",")]
    names = [term[:2] for term in terms]
    if len({*names}) < len(names):
        raise InputError(f"loss names one twice; give it the sum of the weights. Received: {text}")
    return terms


def _term(part: str, text: str) -> LossTerm:
    name, colon, number = part.rpartition(":")
    if not colon:
        name, number = part, "1"
    name, equals, layers = name.partition("=")
    if name not in LOSSES:
        raise InputError(
            f"loss must be one of {', '.join(LOSSES)}, or {ACCEPTED}. Received: {text!r}"
        )
    if equals and (name != _OF_LAYERS or not layers):
        raise InputError(
            f"only {_OF_LAYERS} takes layers, as {_OF_LAYERS}=squeezenet/fire3+fire9. "
            f"Received: {part!r}"
        )
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InputError(f"a loss has a finite weight above 0. Received: {part!r}")
    return LossTerm(name, layers, weight)
