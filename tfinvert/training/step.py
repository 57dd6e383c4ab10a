"""One optimiser step under a strategy: gradient, guard, optimiser."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.resize import resize_batch
from tfinvert.training import strategies
from tfinvert.training.guard import Guard
from tfinvert.training.losses import make as make_loss
from tfinvert.training.settings import Settings
from tfinvert.training.state import State

_Gradients = list[tf.Tensor]


class Trained(Protocol):
    """What a step changes."""

    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    guard: Guard


class How(Protocol):
    """The settings of a step."""

    batch_size: int
    accumulate: int
    jit: str


def make_step(
    state: State,
    settings: Settings,
    strategy: tf.distribute.Strategy,
    rest: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Callable[..., tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    The batch is `(images,)` for an in-graph feature, which then runs on the device, or
    `(images, features)` for one that was computed in the input pipeline, up to the `rest`.
    """
    standardization = state.standardization
    output_size = state.network.output_shape[1:3]
    loss = make_loss(settings.loss, output_size)

    def losses(images: tf.Tensor, features: tf.Tensor | None = None) -> tf.Tensor:
        features = state.feature(images) if features is None else rest(features)
        if not settings.train_encoder:
            features = tf.stop_gradient(features)
        reconstructions = state.network(standardization(features), training=True)
        return loss(resize_batch(images, output_size), reconstructions)

    return compile_step(
        losses, state, settings, strategy, lambda: _average(state, settings.averaging)
    )


def compile_step(
    losses: Callable[..., tf.Tensor],
    state: Trained,
    settings: How,
    strategy: tf.distribute.Strategy,
    after: Callable[[], None] = lambda: None,
    penalty: Callable[[_Gradients], _Gradients] = lambda gradients: gradients,
) -> Callable[..., tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    Args:
      losses: from a batch's tensors to the loss of each image, `[B]`.
      state: what is trained.
      settings: batch size, micro-batches and compilation.
      strategy: the devices.
      after: done after the step, outside of the replicas.
      penalty: from a replica's gradients to what the optimiser gets, guarded already.

    Raises:
      InputError: as `check`.
    """
    check(settings, strategy)
    guard = state.guard

    def gradients_of(*batch: tf.Tensor) -> tuple[tf.Tensor, _Gradients]:
        with tf.GradientTape() as tape:
            loss = tf.nn.compute_average_loss(losses(*batch), global_batch_size=settings.batch_size)
            scaled = loss * guard.scale
        return loss, tape.gradient(scaled, state.variables)

    if _compiles(settings.jit, strategy):
        gradients_of = tf.function(gradients_of, jit_compile=True)

    def replica_step(*batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, gradients = _accumulated(gradients_of, batch, settings.accumulate, state.variables)
        norm = tf.zeros(())
        if guard.needed:
            gradients = [gradient / guard.scale for gradient in gradients]
            # The norm is that of the gradient over all replicas, so that clipping does not depend
            # on their number; the optimiser sums the clipped parts.
            whole = tf.distribute.get_replica_context().all_reduce("sum", gradients)
            norm = tf.linalg.global_norm(whole)
            factor = guard.factor(norm)
            gradients = [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients]
        state.optimizer.apply(penalty(gradients), state.variables)
        return loss, norm

    @tf.function
    def step(*batch: tf.Tensor) -> tf.Tensor:
        loss, norm = strategy.run(replica_step, args=batch)
        if guard.needed:
            guard.update(strategy.reduce("mean", norm, axis=None))
        after()
        return strategy.reduce("sum", loss, axis=None)

    return step


def check(settings: How, strategy: tf.distribute.Strategy) -> None:
    """Whether the devices can take such a step.

    Raises:
      InputError: they cannot share the batch evenly, their parts do not split into so many
        micro-batches, or compilation by XLA is asked for on several devices.
    """
    strategies.check_batch(strategy, settings.batch_size)
    devices = strategy.num_replicas_in_sync
    if settings.batch_size % (devices * settings.accumulate):
        raise InputError(
            f"accumulate must divide a device's part of the batch, {settings.batch_size} over "
            f"{devices} device(s). Received: {settings.accumulate}"
        )
    _compiles(settings.jit, strategy)


def _compiles(jit: str, strategy: tf.distribute.Strategy) -> bool:
    alone = strategy.num_replicas_in_sync == 1
    if jit == "on" and not alone:
        raise InputError("jit=on takes one device; give jit=auto or off, or strategy=one")
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    return jit == "on" or (jit == "auto" and alone and on_gpu)


def _accumulated(
    gradients_of: Callable[..., tuple[tf.Tensor, _Gradients]],
    batch: Sequence[tf.Tensor],
    parts: int,
    variables: Sequence[Any],
) -> tuple[tf.Tensor, _Gradients]:
    """Loss and gradients of a batch, summed over parts that are taken one after the other."""
    if parts == 1:
        return gradients_of(*batch)
    split = [tf.reshape(x, (parts, x.shape[0] // parts, *x.shape[1:])) for x in batch]

    def add(i: tf.Tensor, loss: tf.Tensor, sums: _Gradients) -> tuple[Any, ...]:
        more, gradients = gradients_of(*(x[i] for x in split))
        return i + 1, loss + more, [a + b for a, b in zip(sums, gradients, strict=True)]

    zeros = [tf.zeros(variable.shape, tf.float32) for variable in variables]
    start = tf.constant(0), tf.zeros(()), zeros
    # One at a time: that only one part's activations are in memory is what it is for.
    _, loss, sums = tf.while_loop(lambda i, *_: i < parts, add, start, parallel_iterations=1)
    return loss, sums


def _average(state: State, decay: float) -> None:
    """Moves the averaged weights; the first steps count for less, as they are soon far off."""
    done = tf.cast(state.optimizer.iterations, tf.float32)
    rate = 1.0 - tf.minimum(decay, (1.0 + done) / (10.0 + done))
    for model, averaged in state.models:
        for average, weight in zip(averaged.weights, model.weights, strict=True):
            if decay:
                average.value.assign_add(rate * (weight.value - average.value))
            else:
                average.value.assign(weight.value)
