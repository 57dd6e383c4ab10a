"""Reconstruction losses by `--loss` name.

A loss maps images and reconstructions, both `[B, H, W, 3]`, float32, nominally in [0, 1], to one
value per image, `[B]`. `config.registry.LOSSES` lists their factories, each called with the images'
(height, width) and the layers of a perceptual loss. A loss with a model that trains along with the
inverter is a `TrainableLoss`.
"""

import functools
import operator
from collections.abc import Callable, Sequence

from tfinvert.common.backend import Tensor
from tfinvert.config.loss_spec import parse_loss
from tfinvert.config.registry import LOSSES
from tfinvert.training.losses.pixel import mae, mse
from tfinvert.training.losses.trainable import TrainableLoss

Size = tuple[int, int]


class CombinedLoss:
    """A weighted sum of losses.

    Args:
      terms: pairs of weight and loss.

    Attributes:
      trainable_losses: the terms that train a model; call their `build` before the loss.
      variables: variables of the terms' fixed networks, of terms that have this attribute.
    """

    def __init__(self, terms: Sequence[tuple[float, Callable[..., Tensor]]]):
        self._terms = terms
        self.trainable_losses = [loss for _, loss in terms if isinstance(loss, TrainableLoss)]
        fixed = [loss for _, loss in terms if not isinstance(loss, TrainableLoss)]
        self.variables = [each for loss in fixed for each in getattr(loss, "variables", ())]

    def __call__(
        self, images: Tensor, reconstructions: Tensor, features: Tensor | None = None
    ) -> Tensor:
        """Computes the loss of each image.

        Args:
          images: `[B, H, W, 3]`.
          reconstructions: `[B, H, W, 3]`.
          features: standardised features of the images; only trainable losses need them.

        Returns:
          `[B]`.
        """
        values = []
        for weight, loss in self._terms:
            extra = (features,) if loss in self.trainable_losses else ()
            values.append(weight * loss(images, reconstructions, *extra))
        return functools.reduce(operator.add, values)


def make_loss(text: str, size: Size) -> CombinedLoss:
    """Creates the loss of a `--loss` value.

    Args:
      text: see `loss_spec.parse_loss`.
      size: (height, width) of the compared images.

    Raises:
      InputError: the value is invalid, the images are too small, or a layer does not exist.
    """
    return CombinedLoss(
        [(term.weight, LOSSES[term.name](size, term.layers)) for term in parse_loss(text)]
    )


__all__ = ["LOSSES", "CombinedLoss", "TrainableLoss", "mae", "make_loss", "mse"]
