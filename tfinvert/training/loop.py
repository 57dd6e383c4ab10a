"""Training the network that inverts a feature, and for an autoencoder the feature's too."""

import pathlib

import numpy as np
import tensorflow as tf

from tfinvert import metrics
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly
from tfinvert.training import strategies
from tfinvert.training.examples import Examples
from tfinvert.training.history import Entry, History
from tfinvert.training.settings import Settings
from tfinvert.training.state import Checkpoints, State, variables
from tfinvert.training.step import make_step
from tfinvert.training.stepping import PACE, Pace, take_steps
from tfinvert.training.summaries import Summaries

VALIDATION_IMAGES = 512


def fit(
    feature: Feature,
    training: Examples,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Pace = PACE,
) -> tuple[Inverter, list[Entry]]:
    """Trains the inversion network of a feature, from where `workdir` left off.

    Args:
      feature: the representation to invert.
      training: what to train on, of the same feature and settings.
      validation: `[n, *feature.image_shape]` in [0, 1]; up to 512 of them, evenly spaced, are
        scored while training, and eight of those shown.
      settings: what is learnt.
      workdir: an existing directory; gets `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make`.
      pace: how often to log, validate and save.

    Returns:
      The inverter with the averaged weights, without a card, and the history: a list of entries
      with step, loss (since the entry before), images_per_second and at times validation_error.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, an image
        or its feature cannot be had, or the loss or a weight is no longer finite; the last good
        checkpoint is kept.
    """
    strategies.check_batch(strategy, settings.batch_size)
    team = strategies.team(strategy)
    validation = validation[evenly(len(validation), VALIDATION_IMAGES)]
    with strategy.scope():
        state = State(feature, settings)
    # Outside the scope, where variables are made by all workers together.
    checkpoints = Checkpoints(state, workdir / "checkpoints")
    if team.chief and not checkpoints.restore():
        state.standardization = Standardization.measure(feature, training.features())
    strategies.share(strategy, variables(state))
    done = int(state.step.numpy())
    kept = (state.averaged_feature, state.averaged), (state.feature, state.network)
    encoder, network = kept[0 if settings.averaging else 1]
    inverter = Inverter(encoder, state.standardization, network)
    history = History(workdir / "history.jsonl", done) if team.chief else None
    if done >= settings.steps:
        return inverter, history.entries if history else []
    summaries = None
    if team.chief:
        summaries = Summaries(workdir / "summaries", validation, inverter.output_size)
    take_steps(
        make_step(state, settings, strategy),
        training.batches(done, team.part),
        lambda step: {"validation_error": _validate(inverter, validation, summaries, step)},
        done=done,
        length=settings,
        strategy=strategy,
        checkpoints=checkpoints,
        history=history,
        summaries=summaries,
        pace=pace,
    )
    return inverter, history.entries if history else []


def _validate(inverter: Inverter, validation: np.ndarray, summaries: Summaries, step: int) -> float:
    reconstructions = inverter.reconstruct(validation)
    summaries.images(reconstructions, step)
    targets = resize_images(validation, inverter.output_size)
    return metrics.normalized_error(targets, reconstructions)
