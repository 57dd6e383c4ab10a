"""A whole run of a classifier: train AlexNet, save it, and measure what was saved."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from tfinvert import features
from tfinvert.common.files import write_json
from tfinvert.common.provenance import make_card
from tfinvert.config.choices import MEMORY_GB
from tfinvert.data import pipeline
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source, compute_digest
from tfinvert.errors import InputError
from tfinvert.features.alexnet import RANDOM
from tfinvert.features.base import Feature
from tfinvert.metrics.evaluation import read_images
from tfinvert.networks import alexnet, weights
from tfinvert.runs.run_context import RunContext, open_run_context
from tfinvert.training import precision, train_classifier, train_step
from tfinvert.training.datasets import (
    CachedTrainingDataset,
    LabelledFeatureDataset,
    LabelledImageDataset,
    TrainingDataset,
    image_cache_for,
    open_training_dataset,
)
from tfinvert.training.history import training_minutes
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals
from tfinvert.training.train_classifier import ClassifierSettings, InitialClassifier

WEIGHTS, CARD = "alexnet.safetensors", "card.json"
VALIDATION_IMAGES = 1000  # while training; all of them at the end
_DENSE = ("fc6", "fc7", "fc8")


@dataclasses.dataclass(frozen=True)
class ClassifierRun:
    """What is trained on what: with `ClassifierSettings`, everything that determines the result.

    Attributes:
      data: training photographs with classes, as `open_source` takes them.
      image_size: height and width of the images, in pixels.
      weights: what training starts from: a name of `weights.find`, a file, or "random".
      variant: of AlexNet, where the weights do not say.
      input_size: side of what the network sees; 0 for what its weights were trained on.
      validation_data: photographs to validate on; None for those `data` holds out.
      dtype: of the weights that are saved and evaluated, "float32" or "float16".

    Raises:
      InputError: input_size is negative, or there is no such variant or dtype.
    """

    data: str
    image_size: int
    weights: str
    variant: str = ""
    input_size: int = 0
    validation_data: str | None = None
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.input_size < 0:
            raise InputError(f"input_size must not be negative. Received: {self.input_size}")
        if self.variant and self.variant not in alexnet.VARIANTS:
            known = ", ".join(alexnet.VARIANTS)
            raise InputError(f"variant must be one of {known}. Received: {self.variant!r}")
        if self.dtype not in ("float32", "float16"):
            raise InputError(f"dtype must be float32 or float16. Received: {self.dtype!r}")


def run_classifier_training(
    classification: ClassifierRun,
    settings: ClassifierSettings,
    workdir: str | pathlib.Path,
    strategy: str = "auto",
    pace: Intervals = DEFAULT_INTERVALS,
    cache: str | pathlib.Path | None = None,
    memory_gb: float = MEMORY_GB,
) -> pathlib.Path:
    """Trains, saves and evaluates, and prints what it does; returns the directory.

    A run that was interrupted goes on; one that is whole is left as it is. `cache` is the folder
    for cached views, if the settings ask for some; photographs take at most `memory_gb` of memory.
    With the strategy "multi_worker" every worker calls this before TensorFlow does anything else,
    and the chief alone writes.

    Raises:
      InputError: something given is wrong; nothing of the user's is overwritten.
      Interrupted: it was told to stop, and did after a step.
    """
    if settings.train == "all" and (cache or settings.cached_views):
        raise InputError("only features of frozen convolutions can be cached, with --train=head")
    with open_run_context(workdir, strategy, classification, settings, pace) as run:
        _train(run, classification, settings, pace, cache, memory_gb)
        return run.path


def _train(
    run: RunContext,
    classification: ClassifierRun,
    settings: ClassifierSettings,
    pace: Intervals,
    cache: str | pathlib.Path | None,
    memory_gb: float,
) -> None:
    side = classification.image_size
    trunk = features.get(
        "alexnet/conv5",
        image_shape=(side, side, 3),
        weights=classification.weights,
        variant=classification.variant,
        input_size=classification.input_size,
    )
    train_step.check_step_settings(settings, run.devices)
    precision.check_precision(settings.precision)
    held = image_cache_for(settings.data_settings, trunk.image_shape[:2], memory_gb)
    training, validation = _open(classification, held)
    examples = open_training_dataset(trunk, training, settings.data_settings, cache)
    start, facts = _start(classification, settings, trunk, len(training.classes))
    flags = {
        **dataclasses.asdict(classification),
        **dataclasses.asdict(settings),
        # A position means another image, and a label another class, when these change.
        "training_images": len(training),
        "classes": len(training.classes),
        "classes_digest": compute_digest(name.encode() for name in training.classes)[:12],
        "trunk_digest": trunk.identity()["tap"][:12],
    }

    def said() -> str:
        return (
            f"{len(training)} training images and {validation.evaluation_size} validation images "
            f"of {len(training.classes)} classes; "
            f"{run.devices.num_replicas_in_sync} device(s){held}; "
            f"from {classification.weights}: {', '.join(start.layers) or 'nothing'}"
        )

    if not run.open(flags, (WEIGHTS, CARD), examples, said):
        return
    labelled = _labelled(examples, training, trunk, settings)
    seen = VALIDATION_IMAGES if run.team.is_chief else 1
    images = read_images(validation, trunk.image_shape[:2], seen)
    every = -(-validation.evaluation_size // seen)
    shown = images, validation.once_labels()[::every]
    network, history = train_classifier.train_classifier(
        start, labelled, shown, settings, run.path, run.devices, pace
    )
    if not run.team.is_chief:
        return
    file = run.path / WEIGHTS
    _save(file, network, start, {**facts, "classes": training.classes}, classification)
    scores = evaluate_file(file, validation, side)
    spent = training_minutes(history, settings.batch_size)
    speed = round(settings.steps * settings.batch_size / spent / 60, 1) if spent else 0.0
    card = make_card(
        **flags | {"classes": training.classes},
        weights_facts=facts,
        parameters=network.count_params(),
        training_minutes=round(spent, 1),
        training_images_per_second=speed,
        workers=run.team.size,
        metrics=scores,
    )
    write_json(run.path / CARD, card)
    print(
        f"{train_classifier.format_accuracy(scores)} on {scores['images']} images, of the saved weights; "
        f"{speed:.0f} images/s while training\nweights: {file}"
    )


def evaluate_file(path: pathlib.Path, validation: Source, image_size: int) -> dict[str, Any]:
    """The accuracy of a saved classifier on every image of a source, and their number."""
    shape = (image_size, image_size, 3)
    fc8 = features.get("alexnet/fc8", image_shape=shape, weights=str(path))
    batches = pipeline.evaluation_batches(validation, shape[:2], 100)
    with pipeline.convert_pipeline_errors():
        logits = train_classifier.compile_predict(fc8.model)(batches)
    labels = validation.once_labels()
    return {**train_classifier.top_k_accuracy(logits, labels), "images": len(labels)}


def _open(classification: ClassifierRun, held: DecodedImageCache) -> tuple[Source, Source]:
    if classification.validation_data:
        training = open_source(classification.data, held=held)
        validation = open_source(classification.validation_data)
    else:
        training = open_source(classification.data, "training", held)
        validation = open_source(classification.data, "validation")
    if len(training.classes) < 2:
        raise InputError(f"{training.name} has one class; a classifier takes at least two")
    different = sorted(set(training.classes) ^ set(validation.classes))
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise InputError(
            f"{training.name} and {validation.name} must have the same classes; only one of them "
            f"has {', '.join(different[:3])}{more}"
        )
    if training.classes != validation.classes:
        raise InputError(f"{training.name} and {validation.name} number their classes differently")
    return training, validation


def _start(
    classification: ClassifierRun, settings: ClassifierSettings, trunk: Feature, classes: int
) -> tuple[InitialClassifier, Mapping[str, Any]]:
    """What training starts from, and what the weights say about where they come from."""
    variant, size, facts = classification.variant or "torchvision", classification.input_size, {}
    given: dict[str, Any] = {}
    if classification.weights != RANDOM:
        read = weights.read(weights.find(classification.weights), classification.variant)
        variant, size, facts, given = read.variant, size or read.input_size, read.facts, read.layers
    elif settings.train == "head":
        layers = [layer for layer in trunk.model.layers if layer.weights]
        given = {layer.name: tuple(layer.get_weights()) for layer in layers}
    units = (math.prod(trunk.spec.shape), settings.units, settings.units, classes)
    shapes = dict(zip(_DENSE, zip(units[:-1], units[1:], strict=True), strict=True))
    if settings.train == "head":
        shapes = {}
    taken = {
        name: pair
        for name, pair in given.items()
        if name not in _DENSE or pair[0].shape == shapes.get(name)
    }
    size = size or alexnet.VARIANTS[variant].input_size
    return InitialClassifier(variant, trunk.image_shape[:2], size, classes, taken), facts


def _labelled(
    examples: TrainingDataset, training: Source, trunk: Feature, settings: ClassifierSettings
) -> LabelledImageDataset | LabelledFeatureDataset:
    if isinstance(examples, CachedTrainingDataset):
        return LabelledFeatureDataset(examples.cache, training, settings.data_settings)
    return LabelledImageDataset(training, trunk.image_shape[:2], settings.data_settings)


def _save(
    path: pathlib.Path,
    network: keras.Model,
    start: InitialClassifier,
    facts: Mapping[str, Any],
    classification: ClassifierRun,
) -> None:
    layers = {layer.name: tuple(layer.get_weights()) for layer in network.layers if layer.weights}
    layers = {name: pair for name, pair in layers.items() if len(pair) == 2}  # not dropout's seeds
    whole = weights.Weights(start.variant, layers, start.input_size, dict(facts))
    weights.save(path, whole, dtype=classification.dtype)
