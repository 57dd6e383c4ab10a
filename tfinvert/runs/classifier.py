"""Training runs of AlexNet as a classifier: train, save and evaluate."""

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
from tfinvert.training import precision, strategies, train_classifier, train_step
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
VALIDATION_IMAGES = 1000  # during training; at the end, all of them are used
_DENSE_LAYERS = ("fc6", "fc7", "fc8")


@dataclasses.dataclass(frozen=True)
class ClassifierRun:
    """Configuration of a classifier's training run; with its settings, it determines the result.

    Attributes:
      data: training photographs with classes, a name that `open_source` takes.
      image_size: height and width of the images in pixels.
      weights: initial weights: a name that `weights.find` takes, a file, or "random".
      variant: variant of AlexNet, for weights files that do not name it.
      input_size: side of the network's input in pixels; 0 for the size of its initial weights.
      validation_data: validation photographs; None holds out images of `data`.
      weights_dtype: data type of the weights that are saved and evaluated, "float32" or "float16".

    Raises:
      InputError: a value is out of range or unknown.
    """

    data: str
    image_size: int
    weights: str
    variant: str = ""
    input_size: int = 0
    validation_data: str | None = None
    weights_dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.input_size < 0:
            raise InputError(f"--input_size must not be negative. Received: {self.input_size}")
        if self.variant and self.variant not in alexnet.VARIANTS:
            known = ", ".join(alexnet.VARIANTS)
            raise InputError(f"--variant must be one of {known}. Received: {self.variant!r}")
        if self.weights_dtype not in ("float32", "float16"):
            raise InputError(
                f"--weights_dtype must be float32 or float16. Received: {self.weights_dtype!r}"
            )


def run_classifier_training(
    config: ClassifierRun,
    settings: ClassifierSettings,
    workdir: str | pathlib.Path,
    strategy: str = "auto",
    intervals: Intervals = DEFAULT_INTERVALS,
    cache: str | pathlib.Path | None = None,
    memory_gb: float = MEMORY_GB,
) -> pathlib.Path:
    """Trains, saves and evaluates a classifier, and prints progress.

    An interrupted run is resumed; a complete one is left as it is. With the strategy
    "multi_worker", every worker calls this function before it uses TensorFlow in any other way,
    and only the chief writes files.

    Args:
      config: data and initial weights.
      settings: trained layers and optimisation.
      workdir: the run directory.
      strategy: a name that `strategies.make_strategy` takes.
      intervals: steps between log entries, validations and checkpoints.
      cache: folder for caches of fixed views; needed if and only if the settings have
        `cached_views`.
      memory_gb: memory for decoded photographs in gigabytes.

    Returns:
      The run directory.

    Raises:
      InputError: the input is wrong. No file is overwritten.
      Interrupted: the process was interrupted; the last step is saved.
    """
    if settings.train == "all" and (cache or settings.cached_views):
        raise InputError(
            "only the features of frozen convolutions can be cached; give --train=head, or neither "
            "--cache nor --cached_views. Received: --train=all"
        )
    with open_run_context(workdir, strategy, config, settings, intervals) as run:
        _train(run, config, settings, intervals, cache, memory_gb)
        return run.path


def _train(
    run: RunContext,
    config: ClassifierRun,
    settings: ClassifierSettings,
    intervals: Intervals,
    cache: str | pathlib.Path | None,
    memory_gb: float,
) -> None:
    side = config.image_size
    trunk = features.get(
        "alexnet/conv5",
        image_shape=(side, side, 3),
        weights=config.weights,
        variant=config.variant,
        input_size=config.input_size,
    )
    train_step.check_step_settings(settings, run.strategy)
    precision.check_precision(settings.precision)
    image_cache = image_cache_for(settings.data_settings, trunk.image_shape[:2], memory_gb)
    training, validation = _open_sources(config, image_cache)
    dataset = open_training_dataset(trunk, training, settings.data_settings, cache)
    initial, weights_facts = _initial_classifier(config, settings, trunk, len(training.classes))
    flags = {
        **dataclasses.asdict(config),
        **dataclasses.asdict(settings),
        # The order of the images and the labels of the classes depend on these.
        "training_images": len(training),
        "classes": len(training.classes),
        "classes_digest": compute_digest(name.encode() for name in training.classes)[:12],
        "trunk_digest": trunk.identity()["tap"][:12],
    }

    def run_summary() -> str:
        return (
            f"{len(training)} training images and {validation.evaluation_size} validation images "
            f"of {len(training.classes)} classes; "
            f"{strategies.num_devices(run.strategy)} device(s){image_cache}; "
            f"initialised from {config.weights}: {', '.join(initial.layers) or 'no layers'}"
        )

    if not run.open(flags, (WEIGHTS, CARD), dataset, run_summary):
        return
    labelled = _add_labels(dataset, training, trunk, settings)
    limit = VALIDATION_IMAGES if run.workers.is_chief else 1
    images = read_images(validation, trunk.image_shape[:2], limit)
    stride = -(-validation.evaluation_size // limit)
    labelled_images = images, validation.evaluation_labels()[::stride]
    network, history = train_classifier.train_classifier(
        initial, labelled, labelled_images, settings, run.path, run.strategy, intervals
    )
    if not run.workers.is_chief:
        return
    file = run.path / WEIGHTS
    _save_weights(file, network, initial, {**weights_facts, "classes": training.classes}, config)
    scores = evaluate_file(file, validation, side)
    minutes = training_minutes(history, settings.batch_size)
    speed = round(settings.steps * settings.batch_size / minutes / 60, 1) if minutes else 0.0
    card = make_card(
        **flags | {"classes": training.classes},
        weights_facts=weights_facts,
        parameters=network.count_params(),
        training_minutes=round(minutes, 1),
        training_images_per_second=speed,
        workers=run.workers.size,
        metrics=scores,
    )
    write_json(run.path / CARD, card)
    print(
        f"{train_classifier.format_accuracy(scores)} of the saved weights on {scores['images']} "
        f"images; {speed:.0f} images/s in training\nweights: {file}"
    )


def evaluate_file(path: pathlib.Path, validation: Source, image_size: int) -> dict[str, Any]:
    """Evaluates a saved classifier on all images of a source.

    Returns:
      Top-1 and top-5 accuracy, and the number of images.
    """
    shape = (image_size, image_size, 3)
    fc8 = features.get("alexnet/fc8", image_shape=shape, weights=str(path))
    batches = pipeline.evaluation_batches(validation, shape[:2], 100)
    with pipeline.convert_pipeline_errors():
        logits = train_classifier.compile_predict(fc8.model)(batches)
    labels = validation.evaluation_labels()
    return {**train_classifier.top_k_accuracy(logits, labels), "images": len(labels)}


def _open_sources(config: ClassifierRun, image_cache: DecodedImageCache) -> tuple[Source, Source]:
    """The training and the validation photographs, which have the same classes."""
    if config.validation_data:
        training = open_source(config.data, "all", image_cache)
        validation = open_source(config.validation_data)
    else:
        training = open_source(config.data, "training", image_cache)
        validation = open_source(config.data, "validation")
    if len(training.classes) < 2:
        raise InputError(
            "the training data has one class; a classifier needs at least two. "
            f"Received: {training.name}"
        )
    different = sorted(set(training.classes) ^ set(validation.classes))
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise InputError(
            "training and validation data must have the same classes; only one of them has "
            f"{', '.join(different[:3])}{more}. Received: {training.name} and {validation.name}"
        )
    if training.classes != validation.classes:
        raise InputError(
            "training and validation data must number their classes in the same order. "
            f"Received: {training.name} and {validation.name}"
        )
    return training, validation


def _initial_classifier(
    config: ClassifierRun, settings: ClassifierSettings, trunk: Feature, classes: int
) -> tuple[InitialClassifier, Mapping[str, Any]]:
    """The initial network, and facts about its weights from their file."""
    variant, size, facts = config.variant or "torchvision", config.input_size, {}
    available: dict[str, Any] = {}
    if config.weights != RANDOM:
        read = weights.read(weights.find(config.weights), config.variant)
        variant, size, facts = read.variant, size or read.input_size, read.facts
        available = read.layers
    elif settings.train == "head":
        layers = [layer for layer in trunk.model.layers if layer.weights]
        available = {layer.name: tuple(layer.get_weights()) for layer in layers}
    hidden = settings.hidden_units
    sizes = (math.prod(trunk.spec.shape), hidden, hidden, classes)
    shapes = dict(zip(_DENSE_LAYERS, zip(sizes[:-1], sizes[1:], strict=True), strict=True))
    if settings.train == "head":
        shapes = {}
    chosen = {
        name: pair
        for name, pair in available.items()
        if name not in _DENSE_LAYERS or pair[0].shape == shapes.get(name)
    }
    size = size or alexnet.VARIANTS[variant].input_size
    return InitialClassifier(variant, trunk.image_shape[:2], size, classes, chosen), facts


def _add_labels(
    dataset: TrainingDataset, training: Source, trunk: Feature, settings: ClassifierSettings
) -> LabelledImageDataset | LabelledFeatureDataset:
    if isinstance(dataset, CachedTrainingDataset):
        return LabelledFeatureDataset(dataset.cache, training, settings.data_settings)
    return LabelledImageDataset(training, trunk.image_shape[:2], settings.data_settings)


def _save_weights(
    path: pathlib.Path,
    network: keras.Model,
    initial: InitialClassifier,
    facts: Mapping[str, Any],
    config: ClassifierRun,
) -> None:
    layers = {layer.name: tuple(layer.get_weights()) for layer in network.layers if layer.weights}
    layers = {name: pair for name, pair in layers.items() if len(pair) == 2}  # not dropout's seeds
    trained = weights.Weights(initial.variant, layers, initial.input_size, dict(facts))
    weights.save(path, trained, dtype=config.weights_dtype)
