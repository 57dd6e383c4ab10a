"""Training hyperparameters and the logging, validation and checkpoint intervals."""

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
_POSITIVE = ("steps", "batch_size", "learning_rate", "clip_norm", "width", "accumulation_steps")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyperparameters: together with data and feature they determine the trained network.

    Attributes:
      steps: total number of optimiser steps.
      batch_size: images per step, over all devices.
      learning_rate: peak learning rate, reached at the end of the warm-up.
      warmup_steps: steps of linear warm-up, at most a fifth of all steps. A cosine decay to 0 at
        the last step follows.
      clip_norm: largest global norm of the gradient; inf disables clipping.
      spike_threshold: largest global norm of the gradient as a multiple of its running mean; inf
        disables spike suppression.
      ema_decay: decay of the exponential moving average (EMA) of the weights. The averaged weights
        are the ones saved; 0 saves the last weights instead.
      min_crop: side of the smallest random crop, as a fraction of the largest; None uses the data
        source's default.
      shift: largest random translation in each direction, in pixels, with reflection padding.
        Unlike enlarging a crop, it does not smooth the image.
      color_jitter: strength of the random changes of colour, contrast and brightness, in [0, 1];
        None uses the data source's default.
      cached_views: fixed augmented views per photograph that are computed once and kept on disk
        with their features; 0 draws a new view at every step.
      network: architecture, a key of `inversion.NETWORKS`.
      width: multiplier of the network's channels.
      hidden_units: units of each of the first two fully connected layers (vector features only);
        0 means 4096 × width.
      train_encoder: whether to fine-tune the model that computes the feature as well, which makes
        the two networks an autoencoder.
      uncertainty: "none"; "joint" trains an uncertainty head together with the network; "frozen"
        trains only the head, on a network whose weights are frozen.
      loss: names of losses (keys of `losses.LOSSES`) with optional weights; see
        `loss_spec.parse_loss`.
      optimizer: a key of `optimizers.OPTIMIZERS`.
      weight_decay: decoupled weight decay of adamw and muon. Each step shrinks all weights and
        biases by this factor times the learning rate. `ClassifierSettings.weight_decay` is an L2
        penalty instead.
      precision: compute precision of the network; see the module `precision`.
      accumulation_steps: number of micro-batches into which each device splits its share of a
        batch; more need less memory. The result is equal up to rounding.
      jit: whether XLA compiles the gradient computation: "on", "off", or "auto", which compiles on
        a single GPU.
      seed: seed of the initial weights, the image order and the augmentation.

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
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"--{name} must be positive. Received: {getattr(self, name)}")
        for name in ("learning_rate", "width"):
            if math.isinf(getattr(self, name)):
                raise InputError(f"--{name} must be finite. Received: {getattr(self, name)}")
        if not self.spike_threshold > 1:
            raise InputError(f"--spike_threshold must exceed 1. Received: {self.spike_threshold}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"--{name} must be one of {', '.join(known)}. Received: {getattr(self, name)!r}"
                )
        parse_loss(self.loss)
        check_weight_decay(self.weight_decay)
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"--ema_decay must be in [0, 1). Received: {self.ema_decay}")
        for name in ("warmup_steps", "cached_views"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name} must not be negative. Received: {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed must be between 0 and 2**32 - 1. Received: {self.seed}")


def check_weight_decay(weight_decay: float) -> None:
    """Checks the range of a weight decay, decoupled or L2.

    Raises:
      InputError: it is negative or not finite.
    """
    if not 0 <= weight_decay < math.inf:
        raise InputError(
            f"--weight_decay must be finite and not negative. Received: {weight_decay}"
        )


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Logging, validation and checkpoint intervals; they do not affect the trained weights.

    Attributes:
      log: steps between entries of `history.jsonl` and of TensorBoard's scalars.
      validate: steps between validations, each with an image summary.
      checkpoint: steps between checkpoints.

    Raises:
      InputError: an interval is not positive.
    """

    log: int = 50
    validate: int = 1000
    checkpoint: int = 1000

    def __post_init__(self) -> None:
        for name, steps in dataclasses.asdict(self).items():
            if steps < 1:
                raise InputError(f"--{name}_every must be positive. Received: {steps}")


DEFAULT_INTERVALS = Intervals()
