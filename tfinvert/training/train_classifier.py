"""Trains AlexNet as a classifier: its head on frozen convolutional features, or all layers."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tqdm
from keras import ops

from tfinvert.common.backend import Tensor, compile_function
from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.blocks import precision_scope
from tfinvert.training import strategies
from tfinvert.training.datasets import LabelledFeatureDataset, LabelledImageDataset
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.history import Entry
from tfinvert.training.optimizers import learning_rate_schedule
from tfinvert.training.settings import (
    DEFAULT_INTERVALS,
    Intervals,
    Settings,
    check_weight_decay,
)
from tfinvert.training.summaries import ScalarWriter
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import Step, check_step_settings, compile_train_step

if TYPE_CHECKING:
    import tensorflow as tf

TRAINABLE_PARTS = ("head", "all")
_BATCH = 125  # images scored at a time


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """Hyperparameters: with data and initial weights they determine the trained classifier.

    Attributes not listed here are those of `Settings`.

    Attributes:
      train: "head" trains fc6, fc7 and fc8 on the output of the frozen convolutions; "all" trains
        every layer.
      hidden_units: units of each of fc6 and fc7.
      momentum: momentum of stochastic gradient descent.
      dropout: dropout rate of fc6 and fc7.
      weight_decay: L2 penalty on kernels, not biases: this multiple of a kernel is added to its
        gradient, and thus enters the momentum. `Settings.weight_decay` is decoupled instead.

    Raises:
      InputError: a value is out of range.
    """

    steps: int
    train: Literal["head", "all"] = "head"
    batch_size: int = 256
    learning_rate: float = 0.01
    warmup_steps: int = 200
    momentum: float = 0.9
    dropout: float = 0.5
    weight_decay: float = 0.0
    min_crop: float | None = None
    shift: int = 0
    color_jitter: float | None = None
    cached_views: int = 0
    hidden_units: int = 4096
    precision: str = "float32"
    accumulation_steps: int = 1
    jit: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.data_settings  # checks the shared fields
        if self.train not in TRAINABLE_PARTS:
            known = ", ".join(TRAINABLE_PARTS)
            raise InputError(f"--train must be one of {known}. Received: {self.train!r}")
        check_weight_decay(self.weight_decay)
        if self.hidden_units < 1:
            raise InputError(f"--hidden_units must be positive. Received: {self.hidden_units}")
        for name in ("momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"--{name} must be in [0, 1). Received: {getattr(self, name)}")

    @property
    def data_settings(self) -> Settings:
        """The fields shared with `Settings`, which determine order and augmentation of images."""
        own = {"hidden_units", "weight_decay"}  # fields with another meaning in `Settings`
        shared = {field.name for field in dataclasses.fields(Settings)} - own
        return Settings(**{k: v for k, v in dataclasses.asdict(self).items() if k in shared})


@dataclasses.dataclass(frozen=True)
class InitialClassifier:
    """An AlexNet to start training from.

    Attributes:
      variant: a key of `alexnet.VARIANTS`.
      image_size: (height, width) of the images.
      input_size: side to which the network resizes them.
      classes: number of classes.
      layers: (kernel, bias) by layer; absent layers get random weights.
    """

    variant: str
    image_size: tuple[int, int]
    input_size: int
    classes: int
    layers: dict[str, tuple[np.ndarray, np.ndarray]]

    def build(self, settings: ClassifierSettings) -> keras.Model:
        """Builds the network, from images to probabilities."""
        units = (settings.hidden_units, settings.hidden_units, self.classes)
        with precision_scope(settings.precision):
            network = alexnet.build(
                self.variant,
                self.image_size,
                self.input_size,
                units,
                settings.dropout,
                settings.seed,
            )
        for name, weights in self.layers.items():
            network.get_layer(name).set_weights(weights)
        return network


class ClassifierState:
    """Network, optimiser and step; create it in a strategy's scope.

    Args:
      initial: the network to start from.
      settings: hyperparameters.

    Attributes:
      network: the network from images to probabilities.
      frozen: the frozen part, from images to pool5; None if all layers are trained.
      trained: the trained part, from pool5 or images to the logits of fc8.
      optimizer: stochastic gradient descent with a learning-rate schedule.
      clipper: scales the loss in float16.
      step: number of completed steps.
    """

    def __init__(self, initial: InitialClassifier, settings: ClassifierSettings):
        keras.utils.set_random_seed(settings.seed)
        self.network = initial.build(settings)
        images, logits = self.network.input, self.network.get_layer("fc8").output
        self.frozen = None
        if settings.train == "head":
            pool5 = self.network.get_layer("pool5").output
            self.frozen, self.trained = keras.Model(images, pool5), keras.Model(pool5, logits)
        else:
            self.trained = keras.Model(images, logits)
        schedule = learning_rate_schedule(settings)
        self.optimizer = keras.optimizers.SGD(schedule, settings.momentum)
        self.optimizer.build(self.variables)
        self.clipper = GradientClipper(loss_scaling=settings.precision == "float16")
        self.step = keras.Variable(0, dtype="int", trainable=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """Variables that the optimiser updates."""
        return self.trained.trainable_variables

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects but for the step, by their key in checkpoints.

        They include the states of the dropout layers' random generators, which Keras does not
        save.
        """
        layers = self.trained.layers
        dropouts = [x for x in layers if isinstance(x, keras.layers.Dropout) and x.rate]
        seeds = {layer.name: layer.seed_generator.state for layer in dropouts}
        objects = {"network": self.trained, "optimizer": self.optimizer}
        return objects | {"guard": self.clipper.trackables} | seeds

    @property
    def constants(self) -> list[keras.Variable]:
        """Variables that are read but neither trained nor checkpointed: of the frozen part."""
        return self.frozen.variables if self.frozen else []

    def is_finite(self) -> bool:
        """Returns whether all trained weights are finite."""
        return all(np.isfinite(weight).all() for weight in self.trained.get_weights())

    def log_values(self) -> dict[str, float]:
        """Returns values for the history besides the loss."""
        return self.clipper.log_values()


def train_classifier(
    initial: InitialClassifier,
    training: LabelledImageDataset | LabelledFeatureDataset,
    validation: tuple[np.ndarray, np.ndarray],
    settings: ClassifierSettings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy | None,
    intervals: Intervals = DEFAULT_INTERVALS,
) -> tuple[keras.Model, list[Entry]]:
    """Trains a classifier; resumes an interrupted run.

    Args:
      initial: the network to start from.
      training: training images or, if only the head is trained, features of the frozen part.
      validation: images `[n, H, W, 3]` in [0, 1] and labels `[n]`, scored during training.
      settings: hyperparameters.
      workdir: existing directory, which receives `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: the devices, from `strategies.make_strategy`.
      intervals: logging, validation and checkpoint intervals.

    Returns:
      The network, from images to probabilities, and the history: entries with step, loss (mean
      since the previous entry), images_per_second and, at validations, validation_top1 and
      validation_top5.

    Raises:
      InputError: the devices cannot share a batch, a checkpoint is damaged, an image is
        unavailable, or the loss or a weight is not finite. The last good checkpoint is kept.
      Interrupted: see `train_loop`.
    """
    check_step_settings(settings, strategy)
    workers = strategies.worker_group(strategy)
    with strategies.scope(strategy):
        state = ClassifierState(initial, settings)
    resume_point = restore_or_initialize(state, workdir, strategy)
    if resume_point.done >= settings.steps:
        return state.network, resume_point.entries
    inputs, labels = validation
    if state.frozen and workers.is_chief:
        inputs = compile_predict(state.frozen)(_split(inputs))
    predict = compile_predict(state.trained)

    def validate(step: int) -> dict[str, float]:
        scores = top_k_accuracy(predict(_split(inputs)), labels)
        tqdm.tqdm.write(f"step {step}: {format_accuracy(scores)}")
        return {f"validation_{name}": value for name, value in scores.items()}

    from_images = isinstance(training, LabelledImageDataset)
    train_loop(
        make_train_step(state, settings, strategy, state.frozen if from_images else None),
        training.batches(resume_point.done, workers.shard),
        validate,
        resume_point,
        length=settings,
        strategy=strategy,
        summaries=ScalarWriter(workdir / "summaries") if workers.is_chief else None,
        intervals=intervals,
    )
    return state.network, resume_point.entries


def make_train_step(
    state: ClassifierState,
    settings: ClassifierSettings,
    strategy: tf.distribute.Strategy | None,
    frozen: keras.Model | None,
) -> Step:
    """Compiles a function that trains on one batch and returns the loss.

    The loss is the cross-entropy, without the weight decay. `frozen` is applied to the batch first;
    None if the batch is its output already, or all layers are trained.
    """
    # The optimiser sums replicas.
    decay = settings.weight_decay / strategies.num_devices(strategy)

    def losses(inputs: Tensor, labels: Tensor) -> list[Tensor]:
        if frozen is not None:
            inputs = ops.stop_gradient(frozen(inputs, training=False))
        logits = ops.cast(state.trained(inputs, training=True), "float32")
        return [ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)]

    def add_weight_decay(gradients: list[Tensor]) -> list[Tensor]:
        return [
            gradient + decay * variable.value if decay and len(variable.shape) > 1 else gradient
            for gradient, variable in zip(gradients, state.variables, strict=True)
        ]

    return compile_train_step(
        losses, [state], state, settings, strategy, regularize=add_weight_decay
    )


def compile_predict(model: keras.Model) -> Callable[[Iterable[Any]], np.ndarray]:
    """Compiles a function from batches of inputs to a model's outputs in inference, `[n, ...]`."""
    call = compile_function(
        functools.partial(model, training=False), [model.input_shape], model.variables
    )
    return lambda batches: np.concatenate(
        [np.asarray(call(ops.convert_to_tensor(batch, "float32"))) for batch in batches]
    )


def _split(array: np.ndarray) -> Iterable[np.ndarray]:
    return (array[i : i + _BATCH] for i in range(0, len(array), _BATCH))


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes top-1 and top-5 accuracy.

    Ties are broken in favour of the lower class index, so that a constant network is no better than
    chance.

    Args:
      scores: logits or probabilities, `[n, classes]`.
      labels: class indices, `[n]`.

    Returns:
      The accuracies, in [0, 1], as "top1" and "top5".
    """
    own = np.take_along_axis(scores, labels[:, np.newaxis], 1)
    earlier = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
    return {"top1": float((rank < 1).mean()), "top5": float((rank < 5).mean())}


def format_accuracy(accuracy: dict[str, float]) -> str:
    """Formats the result of `top_k_accuracy` as percentages."""
    return f"top-1 {accuracy['top1']:.1%}, top-5 {accuracy['top5']:.1%}"
