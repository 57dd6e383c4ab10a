"""What reconstructions are fitted by: `--loss` values → functions of images and reconstructions.

A loss takes two of `[B, H, W, 3]`, float32 in units around [0, 1], and gives `[B]`. One file a
loss, and one line here.
"""

from collections.abc import Callable

import tensorflow as tf

from tfinvert.loss_terms import parse
from tfinvert.training.losses.absolute import absolute_error
from tfinvert.training.losses.perceptual import perceptual
from tfinvert.training.losses.squared import squared_error
from tfinvert.training.losses.ssim import dissimilarity

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Size = tuple[int, int]

LOSSES: dict[str, Callable[[Size, str], Loss]] = {
    "squared": lambda size, layers: squared_error,
    "absolute": lambda size, layers: absolute_error,
    "ssim": lambda size, layers: dissimilarity(size),
    "perceptual": perceptual,
}


def make(text: str, size: Size) -> Loss:
    """The loss that `--loss` names: the weighted sum of its terms.

    Args:
      text: see `loss_terms.parse`.
      size: (height, width) of the images that are compared.

    Raises:
      InputError: the text is no loss, the images are too small for it, or a layer does not exist.
    """
    terms = parse(text)
    losses = [LOSSES[term.name](size, term.layers) for term in terms]

    def loss(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
        values = [each(images, reconstructions) for each in losses]
        return tf.add_n([t.weight * value for t, value in zip(terms, values, strict=True)])

    return loss


__all__ = ["LOSSES", "Loss", "absolute_error", "make", "squared_error"]
