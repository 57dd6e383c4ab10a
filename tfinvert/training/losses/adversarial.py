"""Adversarial loss of a discriminator that is conditioned on the feature.

After Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics based on Deep
Networks", where the discriminator also takes the feature as an input. The losses here are
relativistic (Jolicoeur-Martineau 2019): they depend on the difference between the discriminator's
logits of a photograph and of its reconstruction. Zero-centred gradient penalties on both (R1 and
R2, Huang et al. 2024) keep the discriminator from outpacing the inverter.
"""

import dataclasses
import functools
import math
import operator

import keras
from keras import ops

from tfinvert.common.backend import Tensor, input_gradient
from tfinvert.networks import discriminator
from tfinvert.networks.common import Feature
from tfinvert.training.losses.trainable import TrainableLoss
from tfinvert.training.optimizers import learning_rate_schedule
from tfinvert.training.settings import Settings

_PENALTY_WEIGHT = 0.1  # γ: the penalty is γ/2 times the squared norm of the gradient
_LEARNING_RATE_FACTOR = 0.4  # of the discriminator's learning rate, relative to the inverter's


class AdversarialLoss(TrainableLoss):
    """Relativistic adversarial loss.

    The inverter's and the discriminator's loss are both log 2 if the discriminator's logits of
    photographs and reconstructions are equal.

    Args:
      size: (height, width) of the images.
    """

    name = "discriminator"

    def __init__(self, size: tuple[int, int], layers: str = ""):
        del layers
        self._size = size

    def __call__(self, images: Tensor, reconstructions: Tensor, features: Tensor) -> Tensor:
        """Computes the inverter's loss; see `TrainableLoss`."""
        return self._relativistic_loss(reconstructions, images, features)

    def model_loss(self, images: Tensor, reconstructions: Tensor, features: Tensor) -> Tensor:
        """Computes the discriminator's loss, with both penalties; see `TrainableLoss`."""
        penalties = [self._gradient_norm(x, features) for x in (images, reconstructions)]
        loss = self._relativistic_loss(images, reconstructions, features)
        return loss + 0.5 * _PENALTY_WEIGHT * functools.reduce(operator.add, penalties)

    def _build_model(
        self, feature: Feature, settings: Settings
    ) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        model = discriminator.build(feature, self._size, settings.width, settings.precision)
        rate = _LEARNING_RATE_FACTOR * settings.learning_rate
        schedule = learning_rate_schedule(dataclasses.replace(settings, learning_rate=rate))
        return model, keras.optimizers.Adam(schedule, beta_1=0.0, beta_2=0.99)

    def _logits(self, images: Tensor, features: Tensor) -> list[Tensor]:
        """The discriminator's maps of logits, each `[B, rows, columns, 1]`."""
        inputs = [ops.convert_to_tensor(x) for x in (images, features)]
        return keras.tree.flatten(self.model(inputs, training=True))

    def _relativistic_loss(self, preferred: Tensor, other: Tensor, features: Tensor) -> Tensor:
        """Softplus of the other images' logits minus the preferred ones', `[B]`."""
        pairs = zip(*(self._logits(x, features) for x in (preferred, other)), strict=True)
        means = [ops.mean(ops.softplus(b - a), (1, 2, 3)) for a, b in pairs]
        return functools.reduce(operator.add, means) / len(means)

    def _gradient_norm(self, images: Tensor, features: Tensor) -> Tensor:
        """Squared norm of the gradient of the logits with respect to the pixels, `[B]`."""

        def total(images: Tensor) -> Tensor:
            # Divided by the square root of their number, as for independent logits.
            sums = [
                ops.sum(x) / math.sqrt(x.shape[1] * x.shape[2])
                for x in self._logits(images, features)
            ]
            return functools.reduce(operator.add, sums)

        gradient = input_gradient(total, ops.convert_to_tensor(images))
        return ops.sum(ops.square(gradient), (1, 2, 3))
