"""Losses as objects, for `InversionModel.compile`, and their weighted sums."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import keras
import numpy as np
from keras import ops

from tfinvert.config.loss_spec import parse_loss
from tfinvert.config.registry import LOSSES
from tfinvert.errors import InputError
from tfinvert.training.losses.trainable import TrainableLoss

Size = tuple[int, int]
LossFunction = Callable[[Any, Any], Any]


class Loss:
    """A loss of the package as an object, which can also be called like a function.

    Attributes:
      name: the name of `--loss`.
      layers: see `Perceptual`.
    """

    name: ClassVar[str]
    layers: str = ""

    def __call__(self, images: Any, reconstructions: Any) -> Any:
        """Computes the loss of each image: `[B, H, W, 3]` in [0, 1], twice, to `[B]`.

        Raises:
          InputError: see `for_size`.
        """
        return self._cached(tuple(images.shape[1:3]))(images, reconstructions)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({f'layers={self.layers!r}' if self.layers else ''})"

    def for_size(self, size: Size) -> Any:
        """Creates the loss for images of one (height, width).

        Raises:
          InputError: the images are too small, or a layer does not exist.
        """
        return LOSSES[self.name](size, self.layers)

    @functools.cached_property
    def _cached(self) -> Callable[[Size], LossFunction]:
        return functools.cache(self.for_size)


class MSE(Loss):
    """Mean squared error of the pixels, the paper's loss; its minimiser is the mean."""

    name = "mse"


class MAE(Loss):
    """Mean absolute error of the pixels; its minimiser is the median."""

    name = "mae"


class SSIM(Loss):
    """1 minus the structural similarity; images of at least 11×11 pixels."""

    name = "ssim"


class Perceptual(Loss):
    """LPIPS or, with layers, the distance in the named layers of a network.

    Args:
      layers: "" for LPIPS (images of at least 31×31 pixels), or as in `--loss=perceptual=LAYERS`:
        "squeezenet/fire3+fire9", "alexnet/conv2+conv5" or "FILE.keras/LAYER+LAYER".
    """

    name = "perceptual"

    def __init__(self, layers: str = ""):
        self.layers = layers


class Adversarial(Loss):
    """Loss of a discriminator, conditioned on the feature, that is trained alongside.

    It depends on a model that `InversionModel.fit` trains, so it cannot be called by itself.
    """

    name = "adversarial"

    def __call__(self, images: Any, reconstructions: Any) -> NoReturn:
        """Raises an error: there is no discriminator before training.

        Raises:
          InputError: always.
        """
        raise InputError(
            "the loss Adversarial has a discriminator, which only training creates; pass it to "
            "InversionModel.compile"
        )


def loss_terms(loss: Any, weights: Sequence[float] | None, size: Size) -> list[tuple[float, Any]]:
    """Returns pairs of weight and loss, the terms of a `CombinedLoss`.

    Args:
      loss: a `--loss` specification, a loss object of this package or of Keras, a function
        `(images, reconstructions) → [B]`, a `TrainableLoss`, or a list of these.
      weights: a weight for each loss of the list; None weights all by 1.
      size: (height, width) of the compared images.

    Raises:
      InputError: there is no loss, one is of another type or invalid at this size, or the weights
        are not finite numbers above 0, one for each loss.
    """
    losses = _to_list(loss)
    weights = [1.0] * len(losses) if weights is None else [*np.atleast_1d(weights)]
    if len(weights) != len(losses) or not all(0 < weight < math.inf for weight in weights):
        raise InputError(
            f"loss_weights must be {len(losses)} finite numbers above 0, one for each loss. "
            f"Received: {[float(weight) for weight in weights]}"
        )
    terms = []
    for weight, item in zip(weights, losses, strict=True):
        terms += [(float(weight) * factor, term) for factor, term in _terms(item, size)]
    return terms


def describe_losses(loss: Any, weights: Sequence[float] | None) -> str:
    """Describes the losses of `loss_terms` in a line that is equal for equal losses."""
    losses = _to_list(loss)
    weights = [1.0] * len(losses) if weights is None else np.atleast_1d(weights)
    parts = [
        f"{weight:g} × {_describe(item)}" for weight, item in zip(weights, losses, strict=True)
    ]
    return " + ".join(parts)


def _to_list(loss: Any) -> list[Any]:
    losses = [*loss] if isinstance(loss, list | tuple) else [loss]
    if not losses or losses == [None]:
        raise InputError(
            'a model needs a loss: for example compile(loss="mse") or '
            'compile(loss=["mse", tfinvert.losses.Perceptual()]). Received: none'
        )
    return losses


def _terms(item: Any, size: Size) -> list[tuple[float, Any]]:
    """Pairs of weight and loss that a loss stands for; a specification has several."""
    if isinstance(item, str):
        return [(term.weight, LOSSES[term.name](size, term.layers)) for term in parse_loss(item)]
    if isinstance(item, Loss):
        return [(1.0, item.for_size(size))]
    if isinstance(item, TrainableLoss):
        return [(1.0, item)]
    if isinstance(item, keras.losses.Loss):
        return [(1.0, _per_image(item.call, item, size))]  # `call` does not average over images
    if callable(item) and not isinstance(item, type):
        return [(1.0, _per_image(item, item, size))]
    raise InputError(
        f"a loss must be one of {', '.join(LOSSES)}, an object of tfinvert.losses or keras.losses, "
        f"or a function (images, reconstructions) → [B]. Received: {item!r}"
    )


def _per_image(function: LossFunction, loss: Any, size: Size) -> LossFunction:
    """Makes a loss of the user's return one value per image, and tries it on two images."""

    def compute(images: Any, reconstructions: Any) -> Any:
        values = ops.cast(function(images, reconstructions), "float32")
        if len(values.shape) > 1:
            values = ops.mean(values, axis=tuple(range(1, len(values.shape))))
        return values

    images = ops.full((2, *size, 3), 0.5)
    shape = tuple(compute(images, images).shape)
    if shape != (2,):
        raise InputError(
            f"the loss {_describe(loss)} must return a value for each image, [B]; omit its mean "
            f"over the batch. Received: the shape {shape} for 2 images"
        )
    return compute


def _describe(item: Any) -> str:
    if isinstance(item, str | Loss):
        return str(item)
    if isinstance(item, keras.losses.Loss):
        return f"{type(item).__name__}({item.get_config()})"
    name = getattr(item, "__qualname__", type(item).__qualname__)
    return f"{getattr(item, '__module__', '')}.{name}"
