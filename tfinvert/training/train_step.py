"""One step under a strategy: gradient, guard and optimiser, of each that is trained."""

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
    """What a step changes."""

    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    guard: GradientClipper


class StepSettings(Protocol):
    """The settings of a step."""

    batch_size: int
    accumulation_steps: int
    jit: str


def make_train_step(
    state: TrainingState,
    settings: Settings,
    strategy: tf.distribute.Strategy,
    rest: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Callable[..., tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    The batch is `(images,)` for an in-graph feature, which then runs on the device, or
    `(images, features)` for one that was computed in the input pipeline, up to the `rest`.
    """
    standardization, loss = state.standardization, state.loss
    output_size = state.network.output_shape[1:3]
    both = uncertainty.attach_head(state.network, state.head) if state.head is not None else None

    def losses(images: tf.Tensor, features: tf.Tensor | None = None) -> list[tf.Tensor]:
        features = state.feature(images) if features is None else rest(features)
        if not settings.train_encoder:
            features = tf.stop_gradient(features)
        features, images = standardization(features), resize_batch(images, output_size)
        if both is None:
            reconstructions, unlikely = state.network(features, training=True), 0.0
        else:
            reconstructions, log_variance = both(features, training=True)
            unlikely = gaussian_nll(images, reconstructions, log_variance)
        # Learners see the features as they are: an encoder does not learn to please them.
        given = [images, *map(tf.stop_gradient, (reconstructions, features))]
        own = [learner.own(*given) for learner in loss.learners]
        if settings.uncertainty == "frozen":
            return [unlikely, *own]
        return [loss(images, reconstructions, given[2]) + NLL_WEIGHT * unlikely, *own]

    def after(_: tf.Tensor, *own: tf.Tensor) -> None:
        for learner, value in zip(loss.learners, own, strict=True):
            learner.update(value)
        update_ema(state, settings.ema_decay)

    return compile_train_step(losses, [state, *loss.learners], settings, strategy, after)


def compile_train_step(
    losses: Callable[..., Sequence[tf.Tensor]],
    trained: Sequence[Trainable],
    settings: StepSettings,
    strategy: tf.distribute.Strategy,
    after: Callable[..., None] = lambda *losses: None,
    penalty: Callable[[_Gradients], _Gradients] = lambda gradients: gradients,
) -> Callable[..., tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    Args:
      losses: from a batch's tensors to the loss of each image, `[B]`, for each that is trained.
      trained: what is trained, each by a loss of its own; the loss of the first is returned.
      settings: batch size, micro-batches and compilation.
      strategy: the devices.
      after: done after the step, outside of the replicas, with the losses.
      penalty: from a replica's gradients of each to what the optimiser gets, guarded already.

    Raises:
      InputError: as `check_sampler_settings`.
    """
    check_step_settings(settings, strategy)
    variables = [each.variables for each in trained]

    def gradients_of(*batch: tf.Tensor) -> tuple[list[tf.Tensor], list[_Gradients]]:
        with tf.GradientTape(persistent=len(trained) > 1) as tape:
            means = [
                tf.nn.compute_average_loss(values, global_batch_size=settings.batch_size)
                for values in losses(*batch)
            ]
            scaled = [x * each.guard.scale for x, each in zip(means, trained, strict=True)]
        return means, [tape.gradient(*each) for each in zip(scaled, variables, strict=True)]

    if _compiles(settings.jit, strategy):
        gradients_of = tf.function(gradients_of, jit_compile=True)

    def replica_step(*batch: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        means, gradients = _accumulated(gradients_of, batch, settings.accumulation_steps, variables)
        norms = []
        for each, own in zip(trained, gradients, strict=True):
            own, norm = _guarded(each.guard, own)
            norms.append(norm)
            each.optimizer.apply(penalty(own), each.variables)
        return means, norms

    @tf.function
    def step(*batch: tf.Tensor) -> tf.Tensor:
        means, norms = strategy.run(replica_step, args=batch)
        for each, norm in zip(trained, norms, strict=True):
            if each.guard.needed:
                each.guard.update(strategy.reduce("mean", norm, axis=None))
        sums = [strategy.reduce("sum", mean, axis=None) for mean in means]
        after(*sums)
        return sums[0]

    return step


def check_step_settings(settings: StepSettings, strategy: tf.distribute.Strategy) -> None:
    """Whether the devices can take such a step.

    Raises:
      InputError: they cannot share the batch evenly, their parts do not split into so many
        micro-batches, or compilation by XLA is asked for on several devices.
    """
    strategies.check_batch_size(strategy, settings.batch_size)
    devices = strategy.num_replicas_in_sync
    if settings.batch_size % (devices * settings.accumulation_steps):
        raise InputError(
            f"accumulation_steps must divide a device's part of the batch, {settings.batch_size} over "
            f"{devices} device(s). Received: {settings.accumulation_steps}"
        )
    _compiles(settings.jit, strategy)


def _compiles(jit: str, strategy: tf.distribute.Strategy) -> bool:
    alone = strategy.num_replicas_in_sync == 1
    if jit == "on" and not alone:
        raise InputError("jit=on takes one device; give jit=auto or off, or strategy=one")
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    return jit == "on" or (jit == "auto" and alone and on_gpu)


def _guarded(guard: GradientClipper, gradients: _Gradients) -> tuple[_Gradients, tf.Tensor]:
    """A replica's gradients as the optimiser gets them, and the norm of those over all replicas."""
    if not guard.needed:
        return gradients, tf.zeros(())
    gradients = [gradient / guard.scale for gradient in gradients]
    # The norm is that of the gradient over all replicas, so that clipping does not depend on their
    # number; the optimiser sums the clipped parts.
    whole = tf.distribute.get_replica_context().all_reduce("sum", gradients)
    norm = tf.linalg.global_norm(whole)
    factor = guard.factor(norm)
    return [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients], norm


def _accumulated(
    gradients_of: Callable[..., tuple[list[tf.Tensor], list[_Gradients]]],
    batch: Sequence[tf.Tensor],
    parts: int,
    variables: Sequence[Sequence[Any]],
) -> tuple[list[tf.Tensor], list[_Gradients]]:
    """Losses and gradients of a batch, summed over parts that are taken one after the other."""
    if parts == 1:
        return gradients_of(*batch)
    split = [tf.reshape(x, (parts, x.shape[0] // parts, *x.shape[1:])) for x in batch]

    def add(i: tf.Tensor, sums: Any) -> tuple[Any, ...]:
        return i + 1, tf.nest.map_structure(tf.add, sums, gradients_of(*(x[i] for x in split)))

    zeros = [[tf.zeros(variable.shape, tf.float32) for variable in each] for each in variables]
    start = tf.constant(0), ([tf.zeros(()) for _ in variables], zeros)
    # One at a time: that only one part's activations are in memory is what it is for.
    return tf.while_loop(lambda i, _: i < parts, add, start, parallel_iterations=1)[1]


def update_ema(state: TrainingState, decay: float) -> None:
    """Moves the averaged weights; the first steps count for less, as they are soon far off."""
    done = tf.cast(state.optimizer.iterations, tf.float32)
    rate = 1.0 - tf.minimum(decay, (1.0 + done) / (10.0 + done))
    for model, averaged in state.models:
        for average, weight in zip(averaged.weights, model.weights, strict=True):
            if decay:
                average.value.assign_add(rate * (weight.value - average.value))
            else:
                average.value.assign(weight.value)
