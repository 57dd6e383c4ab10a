"""One training step under a strategy: gradients, clipping, optimisers and moving average."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfinvert.common.images import resize_batch
from tfinvert.errors import InputError
from tfinvert.networks import uncertainty
from tfinvert.training import strategies
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.uncertainty import NLL_WEIGHT, gaussian_nll

_Gradients = list[tf.Tensor]


class Trainable(Protocol):
    """Variables with their optimiser and gradient clipper."""

    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    clipper: GradientClipper


class StepSettings(Protocol):
    """Settings of the execution of a step."""

    batch_size: int
    accumulation_steps: int
    jit: str


def make_train_step(
    state: TrainingState,
    settings: Settings,
    strategy: tf.distribute.Strategy,
    feature_tail: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Callable[..., tf.Tensor]:
    """Compiles a function that trains on one distributed batch and returns the loss.

    The batch is `(images,)` if the step computes the feature, otherwise `(images, features)`, where
    `feature_tail` completes features that the input pipeline computed.
    """
    standardization, loss = state.standardization, state.loss
    output_size = state.network.output_shape[1:3]
    joint = uncertainty.attach_head(state.network, state.head) if state.head is not None else None

    def losses(images: tf.Tensor, features: tf.Tensor | None = None) -> list[tf.Tensor]:
        features = state.feature(images) if features is None else feature_tail(features)
        if not settings.train_encoder:
            features = tf.stop_gradient(features)
        features, images = standardization(features), resize_batch(images, output_size)
        if joint is None:
            reconstructions, nll = state.network(features, training=True), 0.0
        else:
            reconstructions, log_variance = joint(features, training=True)
            nll = gaussian_nll(images, reconstructions, log_variance)
        # Without a gradient to the features, so that an encoder is not trained by these losses.
        fixed = [images, *map(tf.stop_gradient, (reconstructions, features))]
        model_losses = [each.model_loss(*fixed) for each in loss.trainable_losses]
        if settings.uncertainty == "frozen":
            return [nll, *model_losses]
        return [loss(images, reconstructions, fixed[2]) + NLL_WEIGHT * nll, *model_losses]

    def after_step(_: tf.Tensor, *model_losses: tf.Tensor) -> None:
        for each, value in zip(loss.trainable_losses, model_losses, strict=True):
            each.update(value)
        update_ema(state, settings.ema_decay)

    trainables = [state, *loss.trainable_losses]
    return compile_train_step(losses, trainables, settings, strategy, after_step)


def compile_train_step(
    losses: Callable[..., Sequence[tf.Tensor]],
    trainables: Sequence[Trainable],
    settings: StepSettings,
    strategy: tf.distribute.Strategy,
    after_step: Callable[..., None] = lambda *losses: None,
    regularize: Callable[[_Gradients], _Gradients] = lambda gradients: gradients,
) -> Callable[..., tf.Tensor]:
    """Compiles a function that trains on one distributed batch and returns the loss.

    Args:
      losses: maps a batch's tensors to one loss per image, `[B]`, for each of the trainables.
      trainables: variables to train, each by its own loss; the first loss is returned.
      settings: batch size, micro-batches and compilation.
      strategy: the devices.
      after_step: called with the losses after the step, outside of the replicas.
      regularize: applied to the clipped gradients of each trainable in each replica.

    Raises:
      InputError: see `check_step_settings`.
    """
    check_step_settings(settings, strategy)
    variables = [each.variables for each in trainables]

    def compute_gradients(*batch: tf.Tensor) -> tuple[list[tf.Tensor], list[_Gradients]]:
        with tf.GradientTape(persistent=len(trainables) > 1) as tape:
            means = [
                tf.nn.compute_average_loss(values, global_batch_size=settings.batch_size)
                for values in losses(*batch)
            ]
            scaled = [x * each.clipper.scale for x, each in zip(means, trainables, strict=True)]
        return means, [tape.gradient(*each) for each in zip(scaled, variables, strict=True)]

    if _uses_xla(settings.jit, strategy):
        compute_gradients = tf.function(compute_gradients, jit_compile=True)

    def replica_step(*batch: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        means, gradients = _accumulate(
            compute_gradients, batch, settings.accumulation_steps, variables
        )
        norms = []
        for each, own_gradients in zip(trainables, gradients, strict=True):
            clipped, norm = _clip(each.clipper, own_gradients)
            norms.append(norm)
            each.optimizer.apply(regularize(clipped), each.variables)
        return means, norms

    @tf.function
    def step(*batch: tf.Tensor) -> tf.Tensor:
        means, norms = strategy.run(replica_step, args=batch)
        for each, norm in zip(trainables, norms, strict=True):
            if each.clipper.enabled:
                each.clipper.update(strategy.reduce("mean", norm, axis=None))
        totals = [strategy.reduce("sum", mean, axis=None) for mean in means]
        after_step(*totals)
        return totals[0]

    return step


def check_step_settings(settings: StepSettings, strategy: tf.distribute.Strategy) -> None:
    """Checks that the devices support the settings of a step.

    Raises:
      InputError: the devices cannot share a batch evenly, their shares cannot be split into
        micro-batches, or XLA is requested on several devices.
    """
    strategies.check_batch_size(strategy, settings.batch_size)
    devices = strategy.num_replicas_in_sync
    if settings.batch_size % (devices * settings.accumulation_steps):
        raise InputError(
            "--accumulation_steps must divide each device's share of the batch, "
            f"{settings.batch_size} images over {devices} device(s). "
            f"Received: {settings.accumulation_steps}"
        )
    _uses_xla(settings.jit, strategy)


def _uses_xla(jit: str, strategy: tf.distribute.Strategy) -> bool:
    devices = strategy.num_replicas_in_sync
    if jit == "on" and devices > 1:
        raise InputError(
            "--jit=on supports one device; use --jit=auto or off, or --strategy=one. "
            f"Received: {devices} devices"
        )
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    return jit == "on" or (jit == "auto" and devices == 1 and on_gpu)


def _clip(clipper: GradientClipper, gradients: _Gradients) -> tuple[_Gradients, tf.Tensor]:
    """Returns a replica's clipped gradients, and the norm of the gradient over all replicas."""
    if not clipper.enabled:
        return gradients, tf.zeros(())
    gradients = [gradient / clipper.scale for gradient in gradients]
    # The norm of the sum over all replicas, so that clipping does not depend on their number. The
    # optimiser sums the clipped gradients.
    total = tf.distribute.get_replica_context().all_reduce("sum", gradients)
    norm = tf.linalg.global_norm(total)
    factor = clipper.factor(norm)
    return [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients], norm


def _accumulate(
    compute_gradients: Callable[..., tuple[list[tf.Tensor], list[_Gradients]]],
    batch: Sequence[tf.Tensor],
    steps: int,
    variables: Sequence[Sequence[Any]],
) -> tuple[list[tf.Tensor], list[_Gradients]]:
    """Sums losses and gradients over the micro-batches of a batch."""
    if steps == 1:
        return compute_gradients(*batch)
    parts = [tf.reshape(x, (steps, x.shape[0] // steps, *x.shape[1:])) for x in batch]

    def add(i: tf.Tensor, sums: Any) -> tuple[Any, ...]:
        results = compute_gradients(*(x[i] for x in parts))
        return i + 1, tf.nest.map_structure(tf.add, sums, results)

    zeros = [[tf.zeros(variable.shape, tf.float32) for variable in each] for each in variables]
    start = tf.constant(0), ([tf.zeros(()) for _ in variables], zeros)
    # Sequentially, so that memory holds the activations of one micro-batch only.
    return tf.while_loop(lambda i, _: i < steps, add, start, parallel_iterations=1)[1]


def update_ema(state: TrainingState, decay: float) -> None:
    """Updates the moving average of the weights.

    The decay of step n is at most (1 + n) / (10 + n), so that the initial weights fade quickly.
    """
    steps = tf.cast(state.optimizer.iterations, tf.float32)
    rate = 1.0 - tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
    for model, ema_model in state.models:
        for average, weight in zip(ema_model.weights, model.weights, strict=True):
            if decay:
                average.value.assign_add(rate * (weight.value - average.value))
            else:
                average.value.assign(weight.value)
