"""One training step: gradients, clipping, optimisers and moving average, on TensorFlow or JAX."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.common.images import resize_batch
from tfinvert.errors import InputError
from tfinvert.networks import uncertainty
from tfinvert.training import strategies
from tfinvert.training.engine import Engine, make_engine
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings
from tfinvert.training.state import CheckpointedState, TrainingState, checkpoint_variables
from tfinvert.training.uncertainty import NLL_WEIGHT, gaussian_nll

_Gradients = list[Tensor]
Step = Callable[..., Tensor]  # of a batch's tensors


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


def identity(features: Tensor) -> Tensor:
    """Returns features that are complete already."""
    return features


def make_train_step(
    state: TrainingState,
    settings: Settings,
    strategy: Any = None,
    feature_tail: Callable[[Tensor], Tensor] = identity,
) -> Step:
    """Compiles a function that trains on one batch and returns the loss.

    The batch is `(images,)` if the step computes the feature, otherwise `(images, features)`, where
    `feature_tail` completes features that the input pipeline computed. With a strategy over several
    devices it is a distributed batch.

    Raises:
      InputError: see `check_step_settings`.
    """
    standardization, loss = state.standardization, state.loss
    output_size = state.network.output_shape[1:3]
    joint = uncertainty.attach_head(state.network, state.head) if state.head is not None else None

    def losses(images: Tensor, features: Tensor | None = None) -> list[Tensor]:
        features = state.feature(images) if features is None else feature_tail(features)
        if not settings.train_encoder:
            features = ops.stop_gradient(features)
        features, images = standardization(features), resize_batch(images, output_size)
        if joint is None:
            reconstructions, nll = state.network(features, training=True), 0.0
        else:
            reconstructions, log_variance = joint(features, training=True)
            nll = gaussian_nll(images, reconstructions, log_variance)
        # Without a gradient to the features, so that an encoder is not trained by these losses.
        fixed = [images, *map(ops.stop_gradient, (reconstructions, features))]
        model_losses = [each.model_loss(*fixed) for each in loss.trainable_losses]
        if settings.uncertainty == "frozen":
            return [nll, *model_losses]
        return [loss(images, reconstructions, fixed[2]) + NLL_WEIGHT * nll, *model_losses]

    def after_step(_: Tensor, *model_losses: Tensor) -> None:
        for each, value in zip(loss.trainable_losses, model_losses, strict=True):
            each.update(value)
        update_ema(state, settings.ema_decay)

    trainables = [state, *loss.trainable_losses]
    return compile_train_step(losses, trainables, state, settings, strategy, after_step)


def compile_train_step(
    losses: Callable[..., Sequence[Tensor]],
    trainables: Sequence[Trainable],
    state: CheckpointedState,
    settings: StepSettings,
    strategy: Any = None,
    after_step: Callable[..., None] = lambda *losses: None,
    regularize: Callable[[_Gradients], _Gradients] = lambda gradients: gradients,
) -> Step:
    """Compiles a function that trains on one batch and returns the loss.

    Args:
      losses: maps a batch's tensors to one loss per image, `[B]`, for each of the trainables.
      trainables: variables to train, each by its own loss; the first loss is returned.
      state: the state whose variables the step changes and reads.
      settings: batch size, micro-batches and compilation.
      strategy: TensorFlow's devices; None for the current strategy, and on JAX.
      after_step: called with the losses after the step, outside of the replicas.
      regularize: applied to the clipped gradients of each trainable in each replica.

    Returns:
      A function of a batch's tensors; on JAX an `engine.CompiledStep`.

    Raises:
      InputError: see `check_step_settings`.
    """
    check_step_settings(settings, strategy)
    engine = make_engine(strategy, settings.jit)
    variables = [*checkpoint_variables(state).values(), *getattr(state, "constants", [])]

    def mean_losses(*batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        means = [ops.sum(values) / settings.batch_size for values in losses(*batch)]
        return means, [
            x * each.clipper.scale.value for x, each in zip(means, trainables, strict=True)
        ]

    compute_gradients = engine.gradient_function(
        mean_losses,
        [each.variables for each in trainables],
        settings.accumulation_steps,
        variables,
    )

    def replica_step(*batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        means, gradients = compute_gradients(*batch)
        norms = []
        for each, own_gradients in zip(trainables, gradients, strict=True):
            clipped, norm = _clip(engine, each.clipper, own_gradients)
            norms.append(norm)
            each.optimizer.apply(regularize(clipped), each.variables)
        return means, norms

    def step(*batch: Tensor) -> Tensor:
        means, norms = engine.run(replica_step, batch)
        for each, norm in zip(trainables, norms, strict=True):
            if each.clipper.enabled:
                each.clipper.update(engine.reduce("mean", norm))
        totals = [engine.reduce("sum", mean) for mean in means]
        after_step(*totals)
        return totals[0]

    return engine.compile(step, variables)


def check_step_settings(settings: StepSettings, strategy: Any = None) -> None:
    """Checks that the devices support the settings of a step.

    Raises:
      InputError: the devices cannot share a batch evenly, their shares cannot be split into
        micro-batches, XLA is requested on several devices, or the backend cannot train.
    """
    engine = make_engine(strategy, settings.jit)
    strategies.check_batch_size(settings.batch_size, engine.num_devices)
    if settings.batch_size % (engine.num_devices * settings.accumulation_steps):
        raise InputError(
            "--accumulation_steps must divide each device's share of the batch, "
            f"{settings.batch_size} images over {engine.num_devices} device(s). "
            f"Received: {settings.accumulation_steps}"
        )


def _clip(
    engine: Engine, clipper: GradientClipper, gradients: _Gradients
) -> tuple[_Gradients, Tensor]:
    """Returns a replica's clipped gradients, and the norm of the gradient over all replicas."""
    if not clipper.enabled:
        return gradients, ops.zeros(())
    gradients = [gradient / clipper.scale.value for gradient in gradients]
    # The norm of the sum over all replicas, so that clipping does not depend on their number. The
    # optimiser sums the clipped gradients.
    norm = engine.global_norm(gradients)
    factor = clipper.factor(norm)
    return [engine.scale(gradient, factor) for gradient in gradients], norm


def update_ema(state: TrainingState, decay: float) -> None:
    """Updates the moving average of the weights.

    The decay of step n is at most (1 + n) / (10 + n), so that the initial weights fade quickly.
    """
    steps = ops.cast(state.optimizer.iterations, "float32")
    rate = 1.0 - ops.minimum(decay, (1.0 + steps) / (10.0 + steps))
    for model, ema_model in state.models:
        for average, weight in zip(ema_model.weights, model.weights, strict=True):
            if decay:
                average.assign_add(rate * (weight.value - average.value))
            else:
                average.assign(weight.value)
