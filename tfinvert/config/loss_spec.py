"""Loss specifications: the losses that `--loss` adds up, with their weights, without TensorFlow."""

import math
from typing import NamedTuple

from tfinvert.config.registry import LOSSES
from tfinvert.errors import InputError

_WITH_LAYERS = "perceptual"


class LossTerm(NamedTuple):
    """A summand of a loss.

    Attributes:
      name: a name in `registry.LOSSES`.
      layers: the layers that a perceptual loss compares, see `losses.perceptual`; "" for its
        default.
      weight: a finite number above 0.
    """

    name: str
    layers: str
    weight: float


def parse_loss(text: str) -> list[LossTerm]:
    """Parses a loss, for example `mse:10,perceptual:1` or `perceptual=squeezenet/fire3+fire9`.

    Raises:
      InputError: the text has another form, a name is unknown or repeated, a weight is not a finite
        number above 0, or a loss without layers is given layers.
    """
    terms = [_parse_term(part, text) for part in text.split(",")]
    names = [term[:2] for term in terms]
    if len({*names}) < len(names):
        raise InputError(f"--loss repeats a name; give it the sum of the weights. Received: {text}")
    return terms


def _parse_term(part: str, text: str) -> LossTerm:
    name, colon, number = part.rpartition(":")
    if not colon:
        name, number = part, "1"
    name, equals, layers = name.partition("=")
    if name not in LOSSES:
        comma = "; the path of a file must not contain a comma" if "=" in text else ""
        raise InputError(
            f"--loss must be one of {', '.join(LOSSES)}, or a sum with weights, as in "
            f"mse:10,perceptual:1{comma}. Received: {text!r}"
        )
    if equals and (name != _WITH_LAYERS or not layers):
        raise InputError(
            f"only the loss {_WITH_LAYERS} takes layers, as in "
            f"{_WITH_LAYERS}=squeezenet/fire3+fire9. Received: {part!r}"
        )
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise InputError(f"a loss needs a finite weight above 0. Received: {part!r}")
    return LossTerm(name, layers, weight)
