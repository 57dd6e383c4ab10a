"""What reconstructions are fitted by: `--loss` values → functions of images and reconstructions.

A loss takes two of `[B, H, W, 3]`, float32 in units around [0, 1], and gives `[B]`. Its factory,
in `config.registry.LOSSES`, takes the (height, width) of the images and the names of layers. A loss that learns while the inverter does is a `TrainableLoss`.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfinvert.config.loss_spec import parse_loss
from tfinvert.config.registry import LOSSES
from tfinvert.training.losses.pixel import mae, mse
from tfinvert.training.losses.trainable import TrainableLoss

Size = tuple[int, int]


class CombinedLoss:
    """A weighted sum of losses.

    Args:
      terms: each with its weight.

    Attributes:
      learners: those of them that learn; to be built before the loss is taken.
    """

    def __init__(self, terms: Sequence[tuple[float, Callable[..., tf.Tensor]]]):
        self._terms = terms
        self.learners = [each for _, each in terms if isinstance(each, TrainableLoss)]

    def __call__(
        self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The loss of each image, `[B]`; standardised features are for those that learn."""
        values = []
        for weight, term in self._terms:
            more = (features,) if term in self.learners else ()
            values.append(weight * term(images, reconstructions, *more))
        return tf.add_n(values)


def make_loss(text: str, size: Size) -> CombinedLoss:
    """The loss that `--loss` names.

    Args:
      text: see `loss_spec.parse_loss`.
      size: (height, width) of the images that are compared.

    Raises:
      InputError: the text is no loss, the images are too small for it, or a layer does not exist.
    """
    return CombinedLoss(
        [(term.weight, LOSSES[term.name](size, term.layers)) for term in parse_loss(text)]
    )


__all__ = ["LOSSES", "CombinedLoss", "TrainableLoss", "mae", "make_loss", "mse"]
