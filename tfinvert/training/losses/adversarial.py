"""What a discriminator, trained in the same steps, can still tell from a photograph.

After Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics based on Deep
Networks": the discriminator sees an image and the feature. Here it compares: a photograph and its
reconstruction are a pair, and its loss and the inverter's are of the difference of its verdicts
(Jolicoeur-Martineau 2019), with a penalty on their slope at both (Huang et al. 2024), so that it
cannot run away from an inverter that is behind.
"""

import dataclasses
import math

import keras
import tensorflow as tf

from tfinvert.networks import discriminator
from tfinvert.networks.common import Feature
from tfinvert.training.losses.trainable import TrainableLoss
from tfinvert.training.optimizers import learning_rate_schedule
from tfinvert.training.settings import Settings

_SLOPE = 0.1  # weight of the squared norm of the verdicts' gradient in the pixels, halved
_RATE = 0.4  # the discriminator's learning rate over the inverter's


class AdversarialLoss(TrainableLoss):
    """The loss that a discriminator gives. Both losses are log 2 where it tells nothing apart.

    Args:
      size: (height, width) of the images.
    """

    name = "discriminator"

    def __init__(self, size: tuple[int, int], layers: str = ""):
        del layers
        self._size = size

    def __call__(
        self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        """See `TrainableLoss`: how sure the discriminator is which of a pair is the reconstruction."""
        return self._wrong(reconstructions, images, features)

    def own(self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """See `TrainableLoss`: how wrong the discriminator is about that, and how steep at both."""
        slopes = [self._slope(x, features) for x in (images, reconstructions)]
        return self._wrong(images, reconstructions, features) + 0.5 * _SLOPE * tf.add_n(slopes)

    def _make(
        self, feature: Feature, settings: Settings
    ) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        model = discriminator.build(feature, self._size, settings.width, settings.precision)
        rate = dataclasses.replace(settings, learning_rate=_RATE * settings.learning_rate)
        return model, keras.optimizers.Adam(learning_rate_schedule(rate), beta_1=0.0, beta_2=0.99)

    def _verdicts(self, images: tf.Tensor, features: tf.Tensor) -> list[tf.Tensor]:
        inputs = [tf.convert_to_tensor(x) for x in (images, features)]
        return tf.nest.flatten(self.model(inputs, training=True))

    def _wrong(self, better: tf.Tensor, worse: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """By how much the first does not look more like a photograph than the second, `[B]`."""
        pairs = zip(*(self._verdicts(x, features) for x in (better, worse)), strict=True)
        maps = [tf.reduce_mean(tf.nn.softplus(b - a), (1, 2, 3)) for a, b in pairs]
        return tf.add_n(maps) / len(maps)

    def _slope(self, images: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """The squared norm of the gradient of the verdicts in the pixels, `[B]`."""
        with tf.GradientTape() as tape:
            tape.watch(images)
            # Over the root of their number: as if they were independent.
            sums = [
                tf.reduce_sum(x) / math.sqrt(x.shape[1] * x.shape[2])
                for x in self._verdicts(images, features)
            ]
            total = tf.add_n(sums)
        return tf.reduce_sum(tf.square(tape.gradient(total, images)), (1, 2, 3))
