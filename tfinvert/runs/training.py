"""A whole run: train, evaluate, save and report, into one directory."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert import features
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.common.provenance import make_card
from tfinvert.config.choices import MAX_IMAGES, MEMORY_GB
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.inverter import Inverter, load
from tfinvert.metrics.evaluation import (
    MAX_SAMPLED_IMAGES,
    evaluate,
    evaluate_samples,
    mean_image_baseline,
    read_images,
)
from tfinvert.networks import inversion
from tfinvert.reporting.run_report import (
    MAX_GRID_IMAGES,
    METRICS_FILE,
    REPORT_FILE,
    write_run_report,
)
from tfinvert.runs.run_context import RunContext, open_run_context
from tfinvert.training import precision, train_inverter, train_sampler, train_step
from tfinvert.training.datasets import image_cache_for, open_training_dataset
from tfinvert.training.history import training_minutes
from tfinvert.training.losses import make_loss as make_loss
from tfinvert.training.settings import Settings
from tfinvert.training.state import has_checkpoint
from tfinvert.training.warm_start import check_initial_inverter

INVERTER = "inverter"
_DRAWN = 6  # validation images whose samples are shown


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What is trained on what: with `Settings`, everything that determines the result.

    Attributes:
      feature: the feature's name.
      data: training photographs, as `open_source` takes them.
      image_size: height and width of the images, in pixels.
      validation_data: photographs to validate on; None for those `data` holds out.
      validation_images: at most so many of them, evenly spaced; all are held in memory.
      dtype: of the weights that are evaluated and saved, "float32" or "float16".
      start: inverter to begin with, as `tfinvert.load` takes it, and read only then; None begins
        with fresh weights.
      samples: whether what is learnt is to draw around `start`, which stays as it is.
    """

    feature: str
    data: str
    image_size: int
    validation_data: str | None = None
    validation_images: int = MAX_IMAGES
    dtype: str = "float32"
    start: str | None = None
    samples: bool = False

    def __post_init__(self) -> None:
        if self.samples and not self.start:
            raise InputError("samples takes an inverter to draw around; give start. Received: none")
        if self.validation_images < 2:
            raise InputError(
                f"validation_images must be at least 2. Received: {self.validation_images}"
            )


def run_training(
    asked: TrainingRun,
    settings: Settings,
    workdir: str | pathlib.Path,
    strategy: str = "auto",
    pace: train_inverter.Intervals = train_inverter.DEFAULT_INTERVALS,
    cache: str | pathlib.Path | None = None,
    memory_gb: float = MEMORY_GB,
) -> pathlib.Path:
    """Trains, evaluates, saves and reports, and prints what it does; returns the directory.

    A run that was interrupted goes on; one that is whole is left as it is. `cache` is the folder
    for cached views, if the settings ask for some; photographs take at most `memory_gb` of memory.
    With the strategy "multi_worker" every worker calls this before TensorFlow does anything else,
    and the chief alone writes.

    Raises:
      InputError: something given is wrong; nothing of the user's is overwritten.
      Interrupted: it was told to stop, and did after a step.
    """
    with open_run_context(workdir, strategy, asked, settings, pace) as run:
        _train(run, asked, settings, pace, cache, memory_gb)
        return run.path


def _train(
    run: RunContext,
    asked: TrainingRun,
    settings: Settings,
    pace: train_inverter.Intervals,
    cache: str | pathlib.Path | None,
    memory_gb: float,
) -> None:
    side = asked.image_size
    feature = features.get(asked.feature, image_shape=(side, side, 3))
    # Before the data: what cannot be ends here.
    start = _start(run, asked, settings, feature)
    train_step.check_step_settings(settings, run.devices)
    precision.check_precision(settings.precision)
    held = image_cache_for(settings, (side, side), memory_gb)
    training, validation = _open(asked, held)
    examples = open_training_dataset(feature, training, settings, cache)
    facts = dataclasses.asdict(asked) | dataclasses.asdict(settings)
    # With the number of images, since a position means another image when it changes.
    flags = facts | {"training_images": len(training)}

    def said() -> str:
        return (
            f"{len(training)} training images an epoch, {validation.evaluation_size} validation "
            f"images; {run.devices.num_replicas_in_sync} × {_device_kind()}{held}"
        )

    if not run.open(flags, (INVERTER, METRICS_FILE, REPORT_FILE), examples, said):
        return
    seen = asked.validation_images if run.team.is_chief else 1
    images = read_images(validation, feature.image_shape[:2], seen)
    rest = examples, images, settings, run.path, run.devices, pace
    if asked.samples:
        inverter, history, mean = train_sampler.train_sampler(start, *rest)
    else:
        inverter, history, mean = train_inverter.train_inverter(feature, *rest, start)
    if not run.team.is_chief:
        return
    inverter.round_weights(asked.dtype)
    evaluation = evaluate(inverter, images)
    mean_image = resize_images(mean[np.newaxis], inverter.output_size)[0]
    baseline = mean_image_baseline(evaluation, mean_image)
    facts |= _parameters(inverter)
    samples = None
    if asked.samples:
        shown = images[evenly_spaced_indices(len(images), MAX_GRID_IMAGES)[:_DRAWN]]
        samples = inverter.sample(inverter.encode(shown), 4)
        few = images[evenly_spaced_indices(len(images), MAX_SAMPLED_IMAGES)]
        facts["samples_metrics"] = evaluate_samples(inverter, few)
    spent = training_minutes(history, settings.batch_size)
    inverter.card = make_card(
        **facts,
        training_minutes=round(spent, 1),
        training_images_per_second=round(settings.steps * settings.batch_size / spent / 60, 1),
        workers=run.team.size,
        metrics=evaluation.metrics,
    )
    if not (run.path / INVERTER).exists():
        inverter.save(run.path / INVERTER, asked.dtype)
    write_run_report(
        run.path,
        feature=feature.name,
        photographs="images it never saw",
        evaluation=evaluation,
        baseline_name="mean training image",
        baseline=baseline,
        history=history,
        details=inverter.card,
        samples=samples,
    )
    print(_summary(run.path, inverter.card, baseline))


def _start(
    run: RunContext, asked: TrainingRun, settings: Settings, feature: Feature
) -> Inverter | None:
    """What a run begins with, if anything; checks that what is asked for can be had."""
    if asked.samples:  # also by a run that goes on: its checkpoint has the weights alone
        own = run.path / INVERTER  # of a run that is whole, or nearly: around the same
        start = load(own if own.exists() else asked.start)
        train_sampler.check_sampler_settings(start, feature, settings)
        return start
    network = inversion.build(
        feature, width=settings.width, units=settings.hidden_units, network=settings.network
    )
    make_loss(settings.loss, network.output_shape[1:3])
    if asked.start and settings.train_encoder:
        raise InputError("start is for networks of features that stay; an autoencoder begins anew")
    if settings.uncertainty == "frozen" and not asked.start:
        raise InputError("spread=alone is for an inverter that stays as it is: give it as start")
    if settings.uncertainty == "frozen" and settings.loss != Settings(1).loss:
        raise InputError(
            f"spread=alone is learnt by its likelihood, and by no loss. Received: {settings.loss}"
        )
    if settings.train_encoder and not (feature.model and feature.model.trainable_variables):
        feature.to_train()
    # A run that goes on has its own weights, and what it began with may be gone.
    if not asked.start or not run.team.is_chief or has_checkpoint(run.path):
        return None
    start = load(asked.start)
    check_initial_inverter(start, feature, network)
    return start


def _parameters(inverter: Inverter) -> dict[str, int]:
    parts = {"parameters": inverter.network.count_params()}
    if inverter.flow:
        parts["samples_parameters"] = inverter.flow.network.count_params()
    return parts


def has_held_out_split(data: str, inverter_card: dict[str, Any]) -> bool:
    """Whether an inverter was trained on a part of that data, and the other part was held out."""
    return data == inverter_card.get("data") and not inverter_card.get("validation_data")


def _open(asked: TrainingRun, held: DecodedImageCache) -> tuple[Source, Source]:
    if asked.validation_data:
        training = open_source(asked.data, held=held)
        validation = open_source(asked.validation_data)
    else:
        training = open_source(asked.data, "training", held)
        validation = open_source(asked.data, "validation")
    if validation.evaluation_size < 2:
        raise InputError(f"{validation.name} has one image; validation takes at least two")
    return training, validation


def _device_kind() -> str:
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"


def _summary(run: pathlib.Path, card: dict[str, Any], baseline: dict[str, Any]) -> str:
    ours = card["metrics"]
    drawn = ""
    if "samples_metrics" in card:
        drawn = (
            "its features are off by {reconstruction_feature_error:.3f}, those of samples by "
            "{sample_feature_error:.3f}\n"
        ).format_map(card["samples_metrics"])
    return (
        f"normalised reconstruction error {ours['normalized_error']:.3f} on {ours['images']} "
        f"images (the mean image: {baseline['normalized_error']:.3f})\n"
        f"{drawn}{card['training_images_per_second']:.0f} images/s while training, "
        f"{ours['images_per_second']:.0f} when reconstructing\n"
        f"inverter: {run / INVERTER}\nreport:   {run / REPORT_FILE}"
    )
