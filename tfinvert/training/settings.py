"""The numbers a training run is made with."""

import dataclasses
import math

from tfinvert.config.choices import JIT, PRECISIONS, UNCERTAINTY_MODES
from tfinvert.config.loss_spec import parse_loss
from tfinvert.config.registry import DEFAULT_NETWORK, NETWORKS, OPTIMIZERS
from tfinvert.errors import InputError

_CHOICES = {
    "optimizer": OPTIMIZERS,
    "network": NETWORKS,
    "precision": PRECISIONS,
    "uncertainty": UNCERTAINTY_MODES,
    "jit": JIT,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What, with the data and the feature, determines a trained network.

    Attributes:
      steps: optimiser steps in all.
      batch_size: images a step, over all devices.
      learning_rate: the optimiser's peak rate, after the warm-up.
      warmup_steps: steps over which the rate rises linearly from almost 0; then it falls to 0
        along a cosine until the last step. At most a fifth of all steps.
      clip_norm: the most the norm of the whole gradient may be; inf does not clip.
      spike_threshold: the most it may be as a multiple of its running mean; inf does not look.
      ema_decay: decay of the moving average of the weights, which is what is kept; 0 keeps the
        last weights.
      min_crop: the smallest random crop, as a fraction of the largest; None leaves it to the
        data source.
      shift: pixels by which a view is moved at random, in each direction; what comes in at the
        border is mirrored. Makes new images without making them smoother, as enlarged crops do.
      color_jitter: how strongly colours, contrast and brightness vary, in [0, 1]; None leaves it
        to the data source.
      cached_views: fixed views of each photograph that are computed once, with their features, and
        kept on disk; 0 computes a fresh view for every step.
      network: a key of `inversion.NETWORKS`.
      width: scales the channels of the network.
      hidden_units: of the first two fully connected layers of a network for vectors; 0 for 4096 ×
        width.
      train_encoder: whether the model that gives the feature is trained too, from its own weights:
        an autoencoder.
      uncertainty: whether a second output learns how far each pixel may be from the truth: "none",
        "joint" with the image, or "frozen", on a network that stays as it is.
      loss: keys of `losses.LOSSES`, with weights where there are several: see `loss_terms`.
      optimizer: a key of `optimizers.OPTIMIZERS`.
      weight_decay: of adamw and muon, apart from the gradient: a step takes this share, times the
        learning rate, of every weight and bias. `ClassifierSettings` has another.
      precision: what the network computes in: see `precision`.
      accumulation_steps: parts a device takes its share of a batch in, one after the other, to need
        less memory; the result is the same to rounding.
      jit: whether XLA compiles the gradient: "on", "off", or "auto" for where it pays.
      seed: of the weights and of the order and crops of the images.

    Raises:
      InputError: a value is out of range.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    clip_norm: float = 1.0
    spike_threshold: float = 5.0
    ema_decay: float = 0.999
    min_crop: float | None = None
    shift: int = 0
    color_jitter: float | None = None
    cached_views: int = 0
    network: str = DEFAULT_NETWORK
    width: float = 1.0
    hidden_units: int = 0
    train_encoder: bool = False
    uncertainty: str = "none"
    loss: str = "mse"
    optimizer: str = "muon"
    weight_decay: float = 0.02
    precision: str = "float32"
    accumulation_steps: int = 1
    jit: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("steps", "batch_size", "learning_rate", "clip_norm", "width")
        for name in (*positive, "accumulation_steps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive. Received: {getattr(self, name)}")
        for name in ("learning_rate", "width"):
            if math.isinf(getattr(self, name)):
                raise InputError(f"{name} must be finite. Received: {getattr(self, name)}")
        if not self.spike_threshold > 1:
            raise InputError(f"spike_threshold must be above 1. Received: {self.spike_threshold}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} must be one of {', '.join(known)}. Received: {getattr(self, name)!r}"
                )
        parse_loss(self.loss)
        check_weight_decay(self.weight_decay)
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must be in [0, 1). Received: {self.ema_decay}")
        if self.warmup_steps < 0:
            raise InputError(f"warmup_steps must not be negative. Received: {self.warmup_steps}")
        if self.cached_views < 0:
            raise InputError(f"cached_views must not be negative. Received: {self.cached_views}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must be from 0 to 2**32 - 1. Received: {self.seed}")


def check_weight_decay(weight_decay: float) -> None:
    """Whether weights can be drawn to 0 so strongly, in whichever of the two ways.

    Raises:
      InputError: it is negative or not finite.
    """
    if not 0 <= weight_decay < math.inf:
        raise InputError(f"weight_decay must be finite and not negative. Received: {weight_decay}")


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often the loop stops to look; has no part in what is learnt.

    Attributes:
      log: steps between entries of the history and of TensorBoard's scalars.
      validate: steps between validations and image summaries.
      checkpoint: steps between checkpoints.
    """

    log: int = 50
    validate: int = 1000
    checkpoint: int = 1000

    def __post_init__(self) -> None:
        if min(self.log, self.validate, self.checkpoint) < 1:
            raise InputError(f"log, validate and checkpoint must be positive. Received: {self}")


DEFAULT_INTERVALS = Intervals()
