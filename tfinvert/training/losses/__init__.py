"""What reconstructions are fitted by: `--loss` values → functions of images and reconstructions.

A loss takes two of `[B, H, W, 3]`, float32 in units around [0, 1], and gives `[B]`. One file a
loss, and one line here. A loss that learns while the inverter does is a `Learner`.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfinvert.loss_terms import parse
from tfinvert.training.losses.absolute import absolute_error
from tfinvert.training.losses.adversarial import Adversary
from tfinvert.training.losses.learner import Learner
from tfinvert.training.losses.perceptual import perceptual
from tfinvert.training.losses.squared import squared_error
from tfinvert.training.losses.ssim import dissimilarity

Size = tuple[int, int]


LOSSES: dict[str, Callable[[Size, str], Callable[..., tf.Tensor]]] = {
    "squared": lambda size, layers: squared_error,
    "absolute": lambda size, layers: absolute_error,
    "ssim": lambda size, layers: dissimilarity(size),
    "perceptual": perceptual,
    "adversarial": lambda size, layers: Adversary(size),
}


class Loss:
    """A weighted sum of losses.

    Args:
      terms: each with its weight.

    Attributes:
      learners: those of them that learn; to be built before the loss is taken.
    """

    def __init__(self, terms: Sequence[tuple[float, Callable[..., tf.Tensor]]]):
        self._terms = terms
        self.learners = [each for _, each in terms if isinstance(each, Learner)]

    def __call__(
        self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The loss of each image, `[B]`; standardised features are for those that learn."""
        values = []
        for weight, term in self._terms:
            more = (features,) if term in self.learners else ()
            values.append(weight * term(images, reconstructions, *more))
        return tf.add_n(values)


def make(text: str, size: Size) -> Loss:
    """The loss that `--loss` names.

    Args:
      text: see `loss_terms.parse`.
      size: (height, width) of the images that are compared.

    Raises:
      InputError: the text is no loss, the images are too small for it, or a layer does not exist.
    """
    return Loss([(term.weight, LOSSES[term.name](size, term.layers)) for term in parse(text)])


__all__ = ["LOSSES", "Learner", "Loss", "absolute_error", "make", "squared_error"]
