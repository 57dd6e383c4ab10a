"""Trains a flow-matching sampler of images around the reconstructions of a frozen inverter."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor, compile_function
from tfinvert.common.images import evenly_spaced_indices, resize_batch
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter, flow_matching
from tfinvert.networks import velocity
from tfinvert.training import strategies
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings
from tfinvert.training.state import TrainingState, checkpoint_variables
from tfinvert.training.summaries import NUM_IMAGES, SummaryWriter
from tfinvert.training.train_inverter import VALIDATION_IMAGES, TrainingResult
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import (
    Step,
    check_step_settings,
    compile_train_step,
    identity,
    update_ema,
)
from tfinvert.training.warm_start import check_same_feature

if TYPE_CHECKING:
    import tensorflow as tf

    from tfinvert.data import shuffling
    from tfinvert.training.datasets import TrainingDataset

_TRAINING, _VALIDATION = 1, 2  # independent streams of random numbers
_BATCH = 64  # validation images scored at a time
# Settings of the inverter's own training, which have no effect here.
_INVERTER_SETTINGS = ("loss", "network", "hidden_units", "train_encoder", "uncertainty")


def check_sampler_settings(inverter: Inverter, feature: Feature, settings: Settings) -> None:
    """Checks that a sampler can be trained for an inverter.

    Raises:
      InputError: the inverter has another feature or image size, its images cannot be sampled, or a
        setting concerns the training of the inverter itself.
    """
    defaults = Settings(steps=1)
    changed = [x for x in _INVERTER_SETTINGS if getattr(settings, x) != getattr(defaults, x)]
    if changed:
        values = " ".join(f"--{name}={getattr(settings, name)}" for name in changed)
        raise InputError(
            "--train_sampler keeps the --init_from inverter as it is; omit the flags of its "
            f"training. Received: {values}"
        )
    check_same_feature(inverter, feature)
    sizes = inverter.feature.image_shape[:2], inverter.output_size, feature.image_shape[:2]
    if len({*sizes}) > 1:
        image, output, wanted = (f"{height}×{width}" for height, width in sizes)
        raise InputError(
            "--train_sampler requires that --image_size equals the inverter's image size and the "
            f"size of its reconstructions. Received: images of {wanted} for an inverter of {image} "
            f"that reconstructs {output}"
        )
    velocity.build(feature, settings.width)


class FlowState(TrainingState):
    """A `TrainingState` whose network predicts the velocity; create it in a strategy's scope.

    Args:
      inverter: the inverter to sample around.
      settings: hyperparameters.
      optimizer: see `TrainingState`.

    Attributes:
      mean_network: the inverter's network, which is not trained.
      residual_std: root mean square over many images of image minus reconstruction.
    """

    def __init__(
        self,
        inverter: Inverter,
        settings: Settings,
        optimizer: keras.optimizers.Optimizer | None = None,
    ):
        super().__init__(
            inverter.feature,
            settings,
            lambda precision: velocity.build(inverter.feature, settings.width, precision),
            optimizer=optimizer,
        )
        self.mean_network = keras.models.clone_model(inverter.network)
        self.mean_network.set_weights(inverter.network.get_weights())
        self.residual_std = keras.Variable(1.0, dtype="float32", trainable=False)
        self.standardization = inverter.standardization

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects, including the inverter's network.

        A run thus resumes with the network it started from, even if the inverter's files change.
        """
        return super().trackables | {
            "mean_network": self.mean_network,
            "deviation": self.residual_std,
        }

    def reconstruct(
        self, features: Tensor, standardization: Standardization
    ) -> tuple[Tensor, Tensor]:
        """Returns standardised features and the inverter's images, clipped to [0, 1]."""
        features = standardization(features)
        images = ops.cast(self.mean_network(features, training=False), "float32")
        return features, ops.clip(images, 0.0, 1.0)


def train_sampler(
    inverter: Inverter,
    training: TrainingDataset,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy | None,
    intervals: Intervals = DEFAULT_INTERVALS,
) -> TrainingResult:
    """Trains the velocity network of a sampler; resumes an interrupted run.

    Directory and errors are those of `train_inverter`.

    Args:
      inverter: the inverter to sample around, which stays as it is.
      training: training data, with the inverter's feature and the same settings.
      validation: images `[n, *feature.image_shape]` in [0, 1]; up to 512 evenly spaced ones are
        scored during training.
      settings: hyperparameters, checked by `check_sampler_settings`.
      workdir: existing directory.
      strategy: the devices, from `strategies.make_strategy`.
      intervals: logging, validation and checkpoint intervals.

    Returns:
      The inverter with the sampler. The history has `validation_velocity`, the loss on validation
      images, in place of `validation_error`.
    """
    check_step_settings(settings, strategy)
    workers = strategies.worker_group(strategy)
    validation = validation[evenly_spaced_indices(len(validation), VALIDATION_IMAGES)]
    with strategies.scope(strategy):
        state = FlowState(inverter, settings)
    resume_point = restore_or_initialize(
        state, workdir, strategy, lambda: _compute_statistics(state, training)
    )
    sampler = flow_matching.FlowSampler(state.ema_network, float(state.residual_std.numpy()))
    trained = Inverter(
        inverter.feature,
        state.standardization,
        state.mean_network,
        uncertainty_head=inverter.uncertainty_head,
        flow=sampler,
    )
    result = TrainingResult(trained, resume_point.entries, state.mean_image.numpy())
    if resume_point.done >= settings.steps:
        return result
    summaries = None
    shown = validation[evenly_spaced_indices(len(validation), NUM_IMAGES)]
    if workers.is_chief:
        summaries = SummaryWriter(workdir / "summaries", shown, trained.output_size)
    score = _make_scorer(state, validation)

    def validate(step: int) -> dict[str, float]:
        summaries.write_images(trained.sample(trained.encode(shown), 1)[:, 0], step)
        return {"validation_velocity": score()}

    batches = training.batches(resume_point.done, workers.shard)
    train_loop(
        make_train_step(state, settings, strategy, training.tail),
        _add_noise_and_times(batches, settings, state, resume_point.done, workers.shard),
        validate,
        resume_point,
        length=settings,
        strategy=strategy,
        summaries=summaries,
        intervals=intervals,
    )
    return result


def make_train_step(
    state: FlowState,
    settings: Settings,
    strategy: tf.distribute.Strategy | None = None,
    feature_tail: Callable[[Tensor], Tensor] = identity,
) -> Step:
    """Compiles a function that trains on one batch and returns the loss.

    Batches are those of `train_step.make_train_step`, followed by noise `[B, H, W, 3]` and times
    `[B, 1]`.
    """
    loss = make_velocity_loss(state, state.network, feature_tail)

    def after_step(_: Tensor) -> None:
        update_ema(state, settings.ema_decay)

    return compile_train_step(
        lambda *batch: [loss(*batch)], [state], state, settings, strategy, after_step
    )


def make_velocity_loss(
    state: FlowState,
    network: keras.Model,
    feature_tail: Callable[[Tensor], Tensor] = identity,
) -> Callable[..., Tensor]:
    """Creates the loss of a velocity network: its mean squared error for each image.

    Args:
      state: inverter, standardisation and scale of the residuals.
      network: velocity network, `state.network` or its moving average.
      feature_tail: completes features that the input pipeline computed.

    Returns:
      A function of images `[B, H, W, 3]`, optional features, noise `[B, H, W, 3]` and times
      `[B, 1]`, with values `[B]`.
    """
    standardization = state.standardization

    def loss(images: Tensor, *inputs: Tensor) -> Tensor:
        *computed, noise, time = inputs
        features = feature_tail(computed[0]) if computed else state.feature(images)
        features, mean = state.reconstruct(features, standardization)
        residual = (resize_batch(images, mean.shape[1:3]) - mean) / state.residual_std.value
        point, target = flow_matching.interpolant(noise, residual, time)
        fixed = [ops.stop_gradient(each) for each in (point, time, mean, features)]
        predicted = ops.cast(network(fixed, training=True), "float32")
        return ops.mean(ops.square(predicted - target), (1, 2, 3))

    return loss


def _add_noise_and_times(
    batches: tf.data.Dataset,
    settings: Settings,
    state: FlowState,
    done: int,
    shard: shuffling.BatchShard,
) -> tf.data.Dataset:
    """Appends noise and times, which seed and position determine, to each batch."""
    import tensorflow as tf

    from tfinvert.data import shuffling

    shape = state.network.output_shape[1:]

    def draw(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return draw_noise_and_times(_TRAINING, settings.seed, positions, shape)

    def load(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        noise, time = tf.numpy_function(draw, [positions], (tf.float32, tf.float32))
        count = positions.shape
        return tf.ensure_shape(noise, (*count, *shape)), tf.ensure_shape(time, (*count, 1))

    drawn = shuffling.batch_positions(settings.batch_size, done, shard).map(load).prefetch(2)
    return tf.data.Dataset.zip(batches, drawn).map(lambda batch, noise: (*batch, *noise))


def draw_noise_and_times(
    stream: int, seed: int, positions: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draws Gaussian noise and logit-normal times for positions in the training order.

    Most times are in the middle of (0, 1), where the velocity is hardest to predict (Esser et al.
    2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis").

    Args:
      stream: selects one of several independent streams of random numbers.
      seed: seed of the run.
      positions: `[n]`.
      shape: shape of the noise of one image.

    Returns:
      Noise `[n, *shape]` and times in (0, 1), `[n, 1]`, both float32.
    """
    size = int(np.prod(shape))
    values = np.stack(
        [
            flow_matching.seeded_noise((stream, seed, position), (size + 1,))
            for position in positions.tolist()
        ]
    )
    return values[:, 1:].reshape(-1, *shape), 1 / (1 + np.exp(-values[:, :1]))


def _make_scorer(state: FlowState, validation: np.ndarray) -> Callable[[], float]:
    """Creates a function that scores the averaged network with fixed noise and times."""
    shape = state.network.output_shape[1:]
    image_shape, feature_shape = state.feature.image_shape, tuple(state.feature.spec.shape)
    shapes = [(None, *each) for each in (image_shape, feature_shape, shape, (1,))]
    loss = compile_function(
        make_velocity_loss(state, state.ema_network),
        shapes,
        [*checkpoint_variables(state).values()],
    )

    def score() -> float:
        values = []
        for begin in range(0, len(validation), _BATCH):
            images = validation[begin : begin + _BATCH]
            positions = np.arange(begin, begin + len(images))
            drawn = draw_noise_and_times(_VALIDATION, 0, positions, shape)
            arrays = images, state.feature(images), *drawn
            values.append(np.asarray(loss(*map(ops.convert_to_tensor, arrays))))
        return float(np.concatenate(values).mean())

    return score


def _compute_statistics(state: FlowState, training: TrainingDataset) -> None:
    """Sets scale of the residuals and mean image from one pass over the first training images."""
    from tfinvert.data import pipeline  # which needs TensorFlow

    total, squares, count = np.zeros(state.feature.image_shape), 0.0, 0
    standardization = state.standardization
    reconstruct = compile_function(
        lambda features: state.reconstruct(features, standardization)[1],
        [(None, *state.feature.spec.shape)],
        state.mean_network.variables,
    )
    with pipeline.convert_pipeline_errors():
        for images, features in training.statistics_batches():
            total, count = total + images.sum(0, np.float64), count + len(images)
            residual = images - np.asarray(reconstruct(ops.convert_to_tensor(features)))
            squares += float(np.square(residual, dtype=np.float64).sum())
    if not count:
        raise InputError("there are no training images; check --data. Received: 0 images")
    state.mean_image.assign(total / count)
    state.residual_std.assign(max(np.sqrt(squares / total.size / count), 1e-6))
