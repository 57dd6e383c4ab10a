"""Training AlexNet as a classifier: its head on what the frozen convolutions give, or all of it."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
import tqdm

from tfinvert.errors import InputError
from tfinvert.networks import alexnet
from tfinvert.networks.blocks import precision_scope
from tfinvert.training import strategies
from tfinvert.training.datasets import LabelledFeatureDataset, LabelledImageDataset
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.history import Entry
from tfinvert.training.optimizers import learning_rate_schedule
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings, check_weight_decay
from tfinvert.training.summaries import ScalarWriter
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import check_step_settings, compile_train_step

TRAINABLE_PARTS = ("head", "all")
_OTHER = {"hidden_units", "weight_decay"}  # which are of other things in `Settings`
_AT_ONCE = 125  # images scored in one go


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """What, with the data and the weights it starts from, determines a trained classifier.

    Attributes:
      train: "head" for fc6, fc7 and fc8 alone, on what the frozen convolutions give; "all" for
        every layer.
      hidden_units: of fc6 and fc7.
      momentum: of stochastic gradient descent.
      dropout: share of the units of fc6 and fc7 that a step leaves out.
      weight_decay: of kernels and not of biases, in the gradient: this share of them is added to
        it, and so is in the momentum too. `Settings` has another.

    The other attributes are those of `Settings`.

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
        _ = self.views  # checks what is its own
        if self.train not in TRAINABLE_PARTS:
            raise InputError(
                f"train must be one of {', '.join(TRAINABLE_PARTS)}. Received: {self.train!r}"
            )
        check_weight_decay(self.weight_decay)
        if self.hidden_units < 1:
            raise InputError(f"hidden_units must be positive. Received: {self.hidden_units}")
        for name in ("momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1). Received: {getattr(self, name)}")

    @property
    def views(self) -> Settings:
        """The part that says which views are seen, and when."""
        names = {field.name for field in dataclasses.fields(Settings)} - _OTHER
        return Settings(**{k: v for k, v in dataclasses.asdict(self).items() if k in names})


@dataclasses.dataclass(frozen=True)
class InitialClassifier:
    """The AlexNet that training starts from.

    Attributes:
      variant: a key of `alexnet.VARIANTS`.
      image_size: (height, width) of the images.
      input_size: side of what the network sees.
      classes: how many.
      layers: (kernel, bias) by layer; those that are not there start from the seed.
    """

    variant: str
    image_size: tuple[int, int]
    input_size: int
    classes: int
    layers: dict[str, tuple[np.ndarray, np.ndarray]]

    def build(self, settings: ClassifierSettings) -> keras.Model:
        """The network, from images to probabilities."""
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
    """Network, optimiser and step; made in a strategy's scope.

    Attributes:
      whole: the network from images to probabilities.
      frozen: from images to what `fitted` takes; None where that is images.
      fitted: the part that is trained, to the logits of fc8.
      optimizer: stochastic gradient descent with its schedule.
      guard: scales the loss for float16.
      step: steps done.
    """

    def __init__(self, start: InitialClassifier, settings: ClassifierSettings):
        keras.utils.set_random_seed(settings.seed)
        self.whole = start.build(settings)
        images, logits = self.whole.input, self.whole.get_layer("fc8").output
        self.frozen = None
        if settings.train == "head":
            middle = self.whole.get_layer("pool5").output
            self.frozen, self.fitted = keras.Model(images, middle), keras.Model(middle, logits)
        else:
            self.fitted = keras.Model(images, logits)
        self.optimizer = keras.optimizers.SGD(learning_rate_schedule(settings), settings.momentum)
        self.optimizer.build(self.variables)
        self.guard = GradientClipper(scaled=settings.precision == "float16")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimiser fits."""
        return self.fitted.trainable_variables

    @property
    def trackables(self) -> dict[str, Any]:
        """See `state.CheckpointedState`; Keras leaves out where dropout stands in its random numbers."""
        dropouts = [x for x in self.fitted.layers if isinstance(x, keras.layers.Dropout) and x.rate]
        seeds = {layer.name: layer.seed_generator.state.value for layer in dropouts}
        parts = {"network": self.fitted, "optimizer": self.optimizer, "guard": self.guard}
        return parts | seeds

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(np.isfinite(weight).all() for weight in self.fitted.get_weights())

    def notes(self) -> dict[str, float]:
        """See `state.CheckpointedState`."""
        return self.guard.notes()


def train_classifier(
    start: InitialClassifier,
    training: LabelledImageDataset | LabelledFeatureDataset,
    validation: tuple[np.ndarray, np.ndarray],
    settings: ClassifierSettings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Intervals = DEFAULT_INTERVALS,
) -> tuple[keras.Model, list[Entry]]:
    """Trains a classifier, from where `workdir` left off.

    Args:
      start: the network to start from.
      training: what to train on; features only of the frozen part, where only the head is trained.
      validation: images `[n, H, W, 3]` in [0, 1] and labels `[n]`, scored now and then.
      settings: what is learnt.
      workdir: an existing directory; gets `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make_strategy`.
      pace: how often to log, validate and save.

    Returns:
      The network, from images to probabilities, and the history: a list of entries with step, loss
      (since the entry before), images_per_second and at times validation_top1 and validation_top5.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, an image
        cannot be had, or the loss or a weight is no longer finite; the last good checkpoint is
        kept.
    """
    check_step_settings(settings, strategy)
    team = strategies.worker_group(strategy)
    with strategy.scope():
        state = ClassifierState(start, settings)
    begun = restore_or_initialize(state, workdir, strategy)
    if begun.done >= settings.steps:
        return state.whole, begun.entries
    inputs, labels = validation
    if state.frozen and team.chief:
        inputs = compile_predict(state.frozen)(_in_batches(inputs))
    predict = compile_predict(state.fitted)
    images_given = isinstance(training, LabelledImageDataset)

    def validate(step: int) -> dict[str, float]:
        scores = top_k_accuracy(predict(_in_batches(inputs)), labels)
        tqdm.tqdm.write(f"step {step}: {format_accuracy(scores)}")
        return {f"validation_{name}": value for name, value in scores.items()}

    train_loop(
        make_train_step(state, settings, strategy, state.frozen if images_given else None),
        training.batches(begun.done, team.part),
        validate,
        begun,
        length=settings,
        strategy=strategy,
        summaries=ScalarWriter(workdir / "summaries") if team.chief else None,
        pace=pace,
    )
    return state.whole, begun.entries


def make_train_step(
    state: ClassifierState,
    settings: ClassifierSettings,
    strategy: tf.distribute.Strategy,
    before: keras.Model | None,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    The loss is the cross-entropy alone, without the weight decay. `before` is what is applied to
    the batch first, and not trained.
    """
    decay = settings.weight_decay / strategy.num_replicas_in_sync  # the optimiser sums replicas

    def losses(inputs: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        if before is not None:
            inputs = tf.stop_gradient(before(inputs, training=False))
        logits = tf.cast(state.fitted(inputs, training=True), tf.float32)
        return [tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)]

    def decayed(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        return [
            gradient + decay * variable.value if decay and len(variable.shape) > 1 else gradient
            for gradient, variable in zip(gradients, state.variables, strict=True)
        ]

    return compile_train_step(losses, [state], settings, strategy, penalty=decayed)


def compile_predict(model: keras.Model) -> Callable[[Iterable[Any]], np.ndarray]:
    """A compiled function from batches of inputs to a model's outputs in inference: `[n, ...]`."""
    call = tf.function(functools.partial(model, training=False), reduce_retracing=True)
    return lambda batches: np.concatenate(
        [call(tf.convert_to_tensor(batch)).numpy() for batch in batches]
    )


def _in_batches(array: np.ndarray) -> Iterable[np.ndarray]:
    return (array[i : i + _AT_ONCE] for i in range(0, len(array), _AT_ONCE))


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The share of images whose class is the best scored one (top1) or among the best five (top5).

    Of equal scores the first class counts as the better one, so that a network which tells nothing
    apart is right no more often than chance.

    Args:
      scores: logits or probabilities, `[n, classes]`.
      labels: `[n]`.
    """
    own = np.take_along_axis(scores, labels[:, np.newaxis], 1)
    earlier = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(1)
    return {"top1": float((rank < 1).mean()), "top5": float((rank < 5).mean())}


def format_accuracy(scores: dict[str, float]) -> str:
    """For people."""
    return f"top-1 {scores['top1']:.1%}, top-5 {scores['top5']:.1%}"
