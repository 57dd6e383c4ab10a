"""Learning to draw images around those of an inverter, which stays as it is: flow matching."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinvert.common.images import evenly_spaced_indices, resize_batch
from tfinvert.data import pipeline, shuffling
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter, flow_matching
from tfinvert.networks import velocity
from tfinvert.training import strategies
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.summaries import NUM_IMAGES, SummaryWriter
from tfinvert.training.train_inverter import VALIDATION_IMAGES, TrainingResult
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import check_step_settings as check_step
from tfinvert.training.train_step import compile_train_step, update_ema
from tfinvert.training.warm_start import check_same_feature

_TRAINING, _VALIDATION = 1, 2  # kinds of noise, so that one tells nothing of another
_AT_ONCE = 64  # validation images
# What says how a regression network is made or fitted.
_OTHERS = ("loss", "network", "hidden_units", "train_encoder", "uncertainty")


def check_sampler_settings(start: Inverter, feature: Feature, settings: Settings) -> None:
    """Whether drawing can be learnt around an inverter.

    Raises:
      InputError: it is of another feature or size than `feature`, its images have another size or
        none that can be drawn, or a setting is about its own network.
    """
    changed = [x for x in _OTHERS if getattr(settings, x) != getattr(Settings(1), x)]
    if changed:
        raise InputError(
            "learning to draw samples changes nothing of the inverter it starts from. Received: "
            f"{', '.join(f'{name}={getattr(settings, name)}' for name in changed)}"
        )
    check_same_feature(start, feature)
    sizes = start.feature.image_shape[:2], start.output_size, feature.image_shape[:2]
    if len({*sizes}) > 1:
        words = [f"{height}×{width}" for height, width in sizes]
        raise InputError(
            "samples are drawn at the image size of the inverter they start from, which must be "
            f"that of its reconstructions. Received: one for {words[0]} that makes {words[1]}, and "
            f"images of {words[2]}"
        )
    velocity.build(feature, settings.width)


class FlowState(TrainingState):
    """As `TrainingState`, whose network is the velocity's; made in a strategy's scope.

    Attributes:
      mean_network: of the inverter that is drawn around; not trained.
      deviation: of images from its images.
    """

    def __init__(self, start: Inverter, settings: Settings):
        super().__init__(
            start.feature,
            settings,
            lambda precision: velocity.build(start.feature, settings.width, precision),
        )
        self.mean_network = keras.models.clone_model(start.network)
        self.mean_network.set_weights(start.network.get_weights())
        self.deviation = tf.Variable(1.0, trainable=False)
        self.standardization = start.standardization

    @property
    def trackables(self) -> dict[str, Any]:
        """The inverter's network too: what goes on is what began, whatever `start` says by then."""
        return super().trackables | {
            "mean_network": self.mean_network,
            "deviation": self.deviation,
        }

    def mean_of(self, features: tf.Tensor, standardization: Standardization) -> Any:
        """Standardised features and the inverter's images, clipped."""
        features = standardization(features)
        images = tf.cast(self.mean_network(features, training=False), tf.float32)
        return features, tf.clip_by_value(images, 0.0, 1.0)


def train_sampler(
    start: Inverter,
    training: TrainingDataset,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Intervals = DEFAULT_INTERVALS,
) -> TrainingResult:
    """Trains the velocity network of a flow around an inverter, from where `workdir` left off.

    Arguments, directory and errors as `train_inverter.train_inverter`; the history has `validation_velocity`, the loss
    on validation images. The inverter that comes back is `start` and draws.
    """
    check_step(settings, strategy)
    team = strategies.worker_group(strategy)
    validation = validation[evenly_spaced_indices(len(validation), VALIDATION_IMAGES)]
    with strategy.scope():
        state = FlowState(start, settings)
    begun = restore_or_initialize(state, workdir, strategy, lambda: _measure(state, training))
    drawing = flow_matching.FlowSampler(state.averaged, float(state.deviation.numpy()))
    parts = start.feature, state.standardization, state.mean_network
    inverter = Inverter(*parts, uncertainty_head=start.uncertainty_head, flow=drawing)
    fitted = TrainingResult(inverter, begun.entries, state.mean_image.numpy())
    if begun.done >= settings.steps:
        return fitted
    summaries = None
    shown = validation[evenly_spaced_indices(len(validation), NUM_IMAGES)]
    if team.chief:
        summaries = SummaryWriter(workdir / "summaries", shown, inverter.output_size)
    score = _scorer(state, validation)

    def validate(step: int) -> dict[str, float]:
        summaries.images(inverter.sample(inverter.encode(shown), 1)[:, 0], step)
        return {"validation_velocity": score()}

    train_loop(
        make_train_step(state, settings, strategy, training.rest),
        _with_noise(
            training.batches(begun.done, team.part), settings, state, begun.done, team.part
        ),
        validate,
        begun,
        length=settings,
        strategy=strategy,
        summaries=summaries,
        pace=pace,
    )
    return fitted


def make_train_step(
    state: FlowState,
    settings: Settings,
    strategy: tf.distribute.Strategy,
    rest: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Callable[..., tf.Tensor]:
    """As `train_step.make_train_step`, of batches that end with noise `[B, H, W, 3]` and times `[B, 1]`."""
    losses = _losses_of(state, state.network, rest)

    def after(_: tf.Tensor) -> None:
        update_ema(state, settings.ema_decay)

    return compile_train_step(lambda *batch: [losses(*batch)], [state], settings, strategy, after)


def _losses_of(
    state: FlowState, network: keras.Model, rest: Callable[[tf.Tensor], tf.Tensor]
) -> Callable[..., tf.Tensor]:
    """From a batch to each image's mean squared error of the velocity, `[B]`."""
    standardization = state.standardization

    def losses(images: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        *given, noise, time = more
        features = rest(given[0]) if given else state.feature(images)
        features, mean = state.mean_of(features, standardization)
        residual = (resize_batch(images, mean.shape[1:3]) - mean) / state.deviation
        place, direction = flow_matching.interpolant(noise, residual, time)
        known = [tf.stop_gradient(each) for each in (place, time, mean, features)]
        found = tf.cast(network(known, training=True), tf.float32)
        return tf.reduce_mean(tf.square(found - direction), (1, 2, 3))

    return losses


def _with_noise(
    batches: tf.data.Dataset,
    settings: Settings,
    state: FlowState,
    done: int,
    part: shuffling.BatchShard,
) -> tf.data.Dataset:
    """Batches with noise and times behind, which the seed and an image's position decide.

    Times are sigmoids of normal numbers: most in the middle, where the velocity is hardest to tell
    (Esser et al. 2024, "Scaling Rectified Flow Transformers").
    """
    shape = state.network.output_shape[1:]

    def draw(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return draw_noise_and_times(_TRAINING, settings.seed, positions, shape)

    def load(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        noise, time = tf.numpy_function(draw, [positions], (tf.float32, tf.float32))
        count = positions.shape
        return tf.ensure_shape(noise, (*count, *shape)), tf.ensure_shape(time, (*count, 1))

    drawn = shuffling.batch_positions(settings.batch_size, done, part).map(load).prefetch(2)
    return tf.data.Dataset.zip(batches, drawn).map(lambda batch, more: (*batch, *more))


def draw_noise_and_times(
    kind: int, seed: int, positions: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Noise `[n, *shape]` and times in (0, 1) `[n, 1]` of some positions."""
    size = int(np.prod(shape))
    each = np.stack(
        [flow_matching.seeded_noise((kind, seed, at), (size + 1,)) for at in positions.tolist()]
    )
    return each[:, 1:].reshape(-1, *shape), 1 / (1 + np.exp(-each[:, :1]))


def _scorer(state: FlowState, validation: np.ndarray) -> Callable[[], float]:
    """The loss of the averaged network on images, always with the same noise and times."""
    losses = tf.function(_losses_of(state, state.averaged, tf.identity), reduce_retracing=True)
    shape = state.network.output_shape[1:]

    def score() -> float:
        found = []
        for first in range(0, len(validation), _AT_ONCE):
            images = validation[first : first + _AT_ONCE]
            at = np.arange(first, first + len(images))
            found.append(
                losses(
                    images, state.feature(images), *draw_noise_and_times(_VALIDATION, 0, at, shape)
                )
            )
        return float(np.concatenate(found).mean())

    return score


def _measure(state: FlowState, training: TrainingDataset) -> None:
    """Deviation and mean image, from one pass over the first training images."""
    total, squares, count = np.zeros(state.feature.image_shape), 0.0, 0
    standardization = state.standardization
    mean_of = tf.function(
        lambda features: state.mean_of(features, standardization)[1], reduce_retracing=True
    )
    with pipeline.convert_pipeline_errors():
        for images, features in training.first():
            total, count = total + images.sum(0, np.float64), count + len(images)
            squares += float(np.square(images - mean_of(features).numpy(), dtype=np.float64).sum())
    if not count:
        raise InputError("there are no training images to measure")
    state.mean_image.assign(total / count)
    state.deviation.assign(max(np.sqrt(squares / total.size / count), 1e-6))
