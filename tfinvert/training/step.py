"""One optimiser step under a strategy."""

from collections.abc import Callable

import tensorflow as tf

from tfinvert.resize import resize_batch
from tfinvert.training.settings import Settings
from tfinvert.training.state import State


def squared_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """The paper's loss, per image, over its pixels' mean: two of `[B, H, W, 3]` become `[B]`.

    The mean and not the sum, so that the figure means the same at every image size.
    """
    return tf.reduce_mean(tf.square(reconstructions - images), axis=(1, 2, 3))


def make_step(
    state: State, settings: Settings, strategy: tf.distribute.Strategy
) -> Callable[..., tf.Tensor]:
    """A compiled function of one distributed batch that trains once and returns the loss.

    The batch is `(images,)` for an in-graph feature, which then runs on the device, or
    `(images, features)` for one that was computed in the input pipeline.
    """
    variables = state.variables
    standardization = state.standardization
    output_size = state.network.output_shape[1:3]

    def replica_step(images: tf.Tensor, features: tf.Tensor | None = None) -> tf.Tensor:
        if features is None and not settings.train_encoder:
            features = state.feature(images)
        targets = resize_batch(images, output_size)
        with tf.GradientTape() as tape:
            if settings.train_encoder:
                features = state.feature(images)
            reconstructions = state.network(standardization(features), training=True)
            loss = tf.nn.compute_average_loss(
                squared_error(targets, reconstructions), global_batch_size=settings.batch_size
            )
        gradients = tape.gradient(loss, variables)
        # The norm is that of the gradient over all replicas, so that clipping does not depend on
        # their number; the optimiser sums the clipped parts.
        whole = tf.distribute.get_replica_context().all_reduce("sum", gradients)
        factor = tf.minimum(1.0, settings.clip_norm / tf.linalg.global_norm(whole))
        state.optimizer.apply([gradient * factor for gradient in gradients], variables)
        return loss

    @tf.function
    def step(*batch: tf.Tensor) -> tf.Tensor:
        loss = strategy.reduce("sum", strategy.run(replica_step, args=batch), axis=None)
        if settings.averaging:
            _average(state, settings.averaging)
        return loss

    return step


def _average(state: State, decay: float) -> None:
    """Moves the averaged weights; the first steps count for less, as they are soon far off."""
    done = tf.cast(state.optimizer.iterations, tf.float32)
    rate = 1.0 - tf.minimum(decay, (1.0 + done) / (10.0 + done))
    for model, averaged in state.models:
        for average, weight in zip(averaged.weights, model.weights, strict=True):
            average.value.assign_add(rate * (weight.value - average.value))
