"""`InversionModel`: an inversion network that is trained as any Keras model."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops
from PIL import Image

from tfinvert import features
from tfinvert.common.backend import BACKEND, default_settings
from tfinvert.common.images import evenly_spaced_indices, resize_images, to_float
from tfinvert.common.provenance import make_card
from tfinvert.config.registry import DEFAULT_NETWORK, OPTIMIZERS
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization, statistics_shape
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter, load
from tfinvert.metrics.evaluation import score_reconstructions
from tfinvert.networks import inversion
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.training import strategies
from tfinvert.training.array_datasets import (
    DEFAULT_BATCH_SIZE,
    ArrayDataset,
    Examples,
    SourceDataset,
    StreamDataset,
    is_source,
    is_stream,
    read_examples,
    to_feature_array,
)
from tfinvert.training.callbacks import ExactResume, FitPosition, ProgressBar
from tfinvert.training.fit_loop import FitLength, run_epochs
from tfinvert.training.losses import CombinedLoss
from tfinvert.training.losses.objects import describe_losses, loss_terms
from tfinvert.training.optimizers import restart_schedule
from tfinvert.training.precision import check_precision
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.train_inverter import VALIDATION_IMAGES
from tfinvert.training.train_step import check_step_settings, make_train_step
from tfinvert.training.uncertainty import fit_std_scale
from tfinvert.training.warm_start import check_initial_inverter

_METRICS = ("normalized_error", "psnr_db", "ssim", "lpips")
_CHUNK = 64  # images whose losses are computed together


class InversionModel(keras.Model):
    """A network that inverts a feature, with the methods of any Keras model.

    Called with images, it returns their reconstructions; called with features, the images that have
    them. Both come from the exponential moving average (EMA) of the trained weights, as those of
    the `Inverter` do that `inverter()` returns.

    Example:
      model = tfinvert.InversionModel(feature="hog", image_size=64)
      model.compile(optimizer="muon", loss=["mse", tfinvert.losses.Perceptual()])
      history = model.fit(images, validation_data=more, epochs=20)
      model.inverter().save("runs/mine")

    To train on several devices, create the model in the scope of a `tf.distribute` strategy.

    Args:
      feature: a feature's name, with options as in `--feature`, or a `Feature` object.
      image_size: height and width of the images in pixels, or both as a pair; None for those of the
        feature object or of `init_from`, otherwise 64.
      feature_shape: shape of features that were computed elsewhere, (n,) or (rows, columns,
        channels), in place of `feature`; `fit` then takes them together with the images.
      network: a name of `--network`; a functional Keras model from features to images in linear
        units around [0, 1], `[B, height, width, 3]`; or a function from the feature to such a
        model. None for that of `init_from`, otherwise the default.
      width: multiplier of the channels of a network by name.
      hidden_units: units of each of its first two fully connected layers (vector features only); 0
        for 4096 × width.
      uncertainty: "none"; "joint" also trains a model of the standard deviation of each pixel;
        "frozen" trains only that, for the network of `init_from`.
      precision: compute precision of a network by name: "float32", "bfloat16" or "float16".
      init_from: an inverter, or a name or directory that `tfinvert.load` takes, whose weights and
        standardisation training starts from.
      seed: seed of the initial weights and of the order of the images.

    Attributes:
      feature: the feature that is inverted.
      network: the trained network.
      ema_network: the network with the EMA of the weights.

    Raises:
      InputError: an argument is invalid, or the network does not fit the feature.
    """

    def __init__(
        self,
        feature: str | Feature | None = None,
        image_size: int | Sequence[int] | None = None,
        *,
        feature_shape: Sequence[int] | None = None,
        network: str | keras.Model | Callable[[Feature], keras.Model] | None = None,
        width: float = 1.0,
        hidden_units: int = 0,
        uncertainty: str = "none",
        precision: str = "float32",
        init_from: str | pathlib.Path | Inverter | None = None,
        seed: int = 0,
        name: str | None = None,
    ):
        with default_settings:  # not as a decorator, as Keras inspects the arguments
            super().__init__(name=name, dtype="float32")
            named = isinstance(network, str) or (network is None and init_from is None)
            self._base_settings = Settings(
                steps=1,
                network=network if isinstance(network, str) else DEFAULT_NETWORK,
                width=width,
                hidden_units=hidden_units,
                uncertainty=uncertainty,
                precision=precision,
                seed=seed,
            )
            check_precision(precision)
            initial = init_from
            if init_from is not None and not isinstance(init_from, Inverter):
                initial = load(init_from)
            if uncertainty == "frozen" and initial is None:
                raise InputError(
                    'uncertainty="frozen" needs an inverter; pass init_from. Received: none'
                )
            self.feature = _make_feature(feature, feature_shape, image_size, initial)
            self._strategy = _current_strategy()
            keras.utils.set_random_seed(seed)
            if named:
                settings = self._base_settings
                build = inversion.build
                arguments = self.feature, None, width, hidden_units, settings.network
                self.network, self.ema_network = (
                    build(*arguments, precision) for precision in (precision, "float32")
                )
                self.ema_network.set_weights(self.network.get_weights())
            else:
                if network is None:
                    network = _copy(initial.network)
                self.network = _check_network(network, self.feature, uncertainty != "none")
                self.ema_network = _copy(self.network)
            self._standardization: Standardization | None = None
            self._initial = initial
            if initial is not None:
                check_initial_inverter(initial, self.feature, self.network)
                for each in (self.network, self.ema_network):
                    each.set_weights(initial.network.get_weights())
                self._standardization = initial.standardization
            self._plan: _Plan | None = None
            self._state: TrainingState | None = None
            self._calibration = np.ones(3, np.float32)
            self._facts: dict[str, Any] = {"steps": 0}
            self._live: Inverter | None = None
            self.built = True

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images in pixels."""
        return tuple(self.feature.image_shape[:2])

    @default_settings
    def call(self, inputs: Any) -> Any:
        """Reconstructs images `[B, H, W, 3]`, uint8 or in [0, 1], or inverts features.

        Returns:
          `[B, *network.output_shape[1:]]` in [0, 1].
        """
        if tuple(inputs.shape[1:]) == self.feature.image_shape:
            inputs = self.feature(inputs)
        return self._current_inverter().decoder.decode(inputs)

    @default_settings
    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "muon",
        loss: Any = None,
        loss_weights: Sequence[float] | None = None,
        *,
        learning_rate: float | None = None,
        warmup_steps: int | None = None,
        weight_decay: float | None = None,
        clip_norm: float = Settings.clip_norm,
        spike_threshold: float = Settings.spike_threshold,
        ema_decay: float = Settings.ema_decay,
        accumulation_steps: int = 1,
        jit: str = "auto",
    ) -> None:
        """Chooses loss and optimiser; a following `fit` begins with a new state of the optimiser.

        Args:
          optimizer: "adam", "adamw" or "muon", whose learning rate is warmed up linearly and decays
            to 0 along a cosine within each `fit`; or an optimizer of Keras, with its own rate.
          loss: a value of `--loss`, such as "mse:10,perceptual:1"; an object of `tfinvert.losses`
            or `keras.losses`; a function `(images, reconstructions) → [B]`; a `TrainableLoss`; or a
            list of these.
          loss_weights: a weight for each loss of the list; None for 1 each.
          learning_rate: peak rate of an optimizer by name; None for 1e-3.
          warmup_steps: steps of its warm-up, at most a fifth of all; None for 200.
          weight_decay: decoupled weight decay of adamw and muon; None for 0.02.
          clip_norm: largest global norm of the gradient; inf disables clipping.
          spike_threshold: largest global norm as a multiple of its running mean; inf disables it.
          ema_decay: decay of the EMA of the weights; 0 uses the last weights.
          accumulation_steps: parts of a batch that are processed one after the other.
          jit: whether XLA compiles the gradients: "on", "off", or "auto", which does on one GPU.

        Raises:
          InputError: an argument is invalid, or no loss is given.
        """
        own = {
            "learning_rate": learning_rate,
            "warmup_steps": warmup_steps,
            "weight_decay": weight_decay,
        }
        own = {key: value for key, value in own.items() if value is not None}
        named = isinstance(optimizer, str)
        if not named and not isinstance(optimizer, keras.optimizers.Optimizer):
            raise InputError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)}, or an object of "
                f"keras.optimizers. Received: {optimizer!r}"
            )
        if not named and own:
            raise InputError(
                f"{', '.join(own)} belong to an optimizer by name; set them in the object. "
                f"Received: {type(optimizer).__name__}"
            )
        frozen = self._base_settings.uncertainty == "frozen"
        if frozen and loss is not None:
            raise InputError(
                'uncertainty="frozen" trains with the negative log-likelihood; omit loss. '
                f"Received: {loss!r}"
            )
        loss = "mse" if frozen else loss
        settings = dataclasses.replace(
            self._base_settings,
            **own,
            clip_norm=clip_norm,
            spike_threshold=spike_threshold,
            ema_decay=ema_decay,
            accumulation_steps=accumulation_steps,
            jit=jit,
            **({"optimizer": optimizer} if named else {}),
        )
        size = self.network.output_shape[1:3]
        self._plan = _Plan(
            settings,
            CombinedLoss(loss_terms(loss, loss_weights, size)),
            describe_losses(loss, loss_weights),
            None if named else optimizer,
        )
        self._state = None
        super().compile(optimizer=self._plan.optimizer, loss=None, jit_compile=False)
        self.loss = self._plan.description

    @default_settings
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        *,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Trains the network.

        The feature is standardised on the first images, unless a previous `fit` or `init_from` did.

        Args:
          x: images `[n, H, W, 3]` of the model's size, uint8 or floating point in [0, 1]; features
            `[n, *feature.spec.shape]`, with the images in `y`; a `tf.data.Dataset` of images or of
            pairs (features, images), in batches or not; or a name of `--data`, such as
            "folder:photos", whose images are augmented as by `tfinvert train`.
          y: the images, if `x` are their features.
          batch_size: images per step, over all devices; None for 64, or the batches of a data set.
          epochs: index of the epoch after the last one.
          verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line per epoch.
          callbacks: Keras callbacks. Those that save whole models are rejected; in place of
            `BackupAndRestore` use `tfinvert.callbacks.ExactResume`.
          validation_split: share of the arrays, at their end, to validate on instead of training.
          validation_data: images, (features, images), a finite data set or a name, as `x`. For a
            name in `x`, None validates on the images that the source holds out.
          shuffle: whether every epoch has an order of its own. A data set keeps its order.
          initial_epoch: index of the first epoch.
          steps_per_epoch: steps per epoch; None for one pass over the images.
          validation_freq: epochs between validations.

        Returns:
          The history: "loss" and, of up to 512 evenly spaced validation images, "val_loss",
          "val_normalized_error", "val_psnr_db" and "val_ssim" for each epoch.

        Raises:
          InputError: the model is not compiled, the data or an argument is invalid, a callback does
            not fit, or the loss is not finite. See also `ExactResume`.
          Interrupted: Ctrl-C or SIGTERM arrived, and `ExactResume` has saved the last step.
        """
        plan = self._require_plan("fit")
        if validation_split:
            x, y, validation_data = _split(x, y, validation_split, validation_data)
        holdout = None
        if is_source(x) and y is None:
            split = "training" if validation_data is None else "all"
            dataset = self._open_source(x, batch_size, shuffle, split)
            if validation_data is None:
                holdout = read_examples(self.feature, x, "x", "validation")
        else:
            dataset = self._open_training(x, y, batch_size, shuffle, steps_per_epoch)
        if validation_data is not None:
            holdout = read_examples(self.feature, validation_data, "validation_data")
        if holdout:
            _check_holdout(holdout, "validation needs at least two images")
        length = FitLength(initial_epoch, epochs, steps_per_epoch or dataset.steps_per_epoch)
        if not 0 <= initial_epoch < epochs or validation_freq < 1 or length.steps < 1:
            raise InputError(
                "epochs must exceed initial_epoch, and all numbers be positive. Received: "
                f"epochs={epochs}, initial_epoch={initial_epoch}, "
                f"steps_per_epoch={steps_per_epoch}, validation_freq={validation_freq}"
            )
        settings = dataclasses.replace(
            plan.settings, steps=length.steps, batch_size=dataset.batch_size
        )
        check_step_settings(settings, self._strategy)
        callbacks = _check_callbacks(callbacks, plan)
        resume = next((each for each in callbacks if isinstance(each, ExactResume)), None)
        position = self._begin(settings, length, dataset, resume)
        if verbose and position.done == length.steps:
            print(f"all {length.steps} steps are complete already")
        step = make_train_step(self._state, settings, self._strategy, dataset.tail)
        if hasattr(step, "function_spec"):
            self.train_function = step  # whose graph the callback TensorBoard writes
        progress = None
        if verbose != 0:
            progress = ProgressBar(position, length.steps, lines=verbose == 2)
            callbacks = [*callbacks, progress]
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            verbose=verbose,
            epochs=epochs,
            steps=length.steps_per_epoch,
            model=self,
        )
        self.stop_training = False
        callbacks.on_train_begin()
        for entry in position.entries:
            logs = {key: value for key, value in entry.items() if key not in ("epoch", "step")}
            self.history.on_epoch_end(int(entry["epoch"]), logs)

        def end_logs(epoch: int) -> dict[str, float]:
            logs = self._state.log_values()
            if holdout and (epoch + 1) % validation_freq == 0:
                logs |= {f"val_{key}": value for key, value in self._validate(holdout).items()}
            return logs

        try:
            run_epochs(
                step,
                self._batches(dataset, position.done),
                position,
                length,
                callbacks,
                stopped=lambda: self.stop_training,
                end_logs=end_logs,
                resume=resume,
            )
        finally:
            self._state.step.assign(position.first_step + position.done)
            if progress:
                progress.close()
        callbacks.on_train_end()
        self._finish(settings, position, dataset, holdout)
        return self.history

    @default_settings
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        **options: Any,
    ) -> dict[str, float]:
        """Measures reconstructions.

        Args:
          x: images, or features with the images in `y`; also a finite data set or a name, see
            `fit`. A name stands for the images that the source holds out from training.
          y: the images, if `x` are their features.
          batch_size: unused, as are `verbose` and `return_dict`.
          verbose: unused.
          **options: of Keras, unused.

        Returns:
          The paper's normalised error "normalized_error", "psnr_db", "ssim" for sides of at least
          11 pixels, and "lpips" for sides of at least 31.

        Raises:
          InputError: the images or features are invalid, or there are fewer than two.
        """
        del batch_size, verbose, options
        holdout = read_examples(self.feature, x if y is None else (x, y), "x", "validation")
        _check_holdout(holdout, "the normalised error needs at least two images")
        reconstructions = self._reconstruct(holdout)
        scores = score_reconstructions(self._targets(holdout), reconstructions)
        return {name: scores[name] for name in _METRICS if name in scores}

    @default_settings
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        **options: Any,
    ) -> np.ndarray:
        """Reconstructs images, or inverts features.

        Args:
          x: images or features, several or one; the path of an image file or a Pillow image; also
            a finite data set of images or a name, see `fit`.
          batch_size: unused, as is `verbose`.
          verbose: unused.
          **options: of Keras, unused.

        Returns:
          float32 `[n, *network.output_shape[1:]]` in [0, 1]; without the first axis for one image
          or feature.

        Raises:
          InputError: the images or features are invalid.
        """
        del batch_size, verbose, options
        shape = getattr(x, "shape", None)
        one = self.feature.image_shape, tuple(self.feature.spec.shape)
        is_file = isinstance(x, str | os.PathLike | Image.Image) and not is_source(x)
        if is_file or shape is not None and tuple(shape) in one:
            return self.predict([x] if is_file else x[None])[0]
        if shape is not None and tuple(shape[1:]) != self.feature.image_shape:
            values = to_feature_array(x, self.feature, shape[0] if len(shape) else 0)
            return self._current_inverter().invert(values)
        return self._reconstruct(read_examples(self.feature, x, "x", "validation"))

    @default_settings
    def inverter(self) -> Inverter:
        """Returns the inverter with the current EMA of the weights; further training leaves it.

        An uncertainty head is calibrated on the validation images of the last `fit`; without any,
        its standard deviations are those of training, which are too small.
        """
        head = None
        if self._state is not None and self._state.head is not None:
            head = UncertaintyHead(_copy(self._state.ema_head), self._calibration)
        card = make_card(**self._facts, parameters=self.network.count_params())
        return Inverter(
            self.feature, self._statistics(), _copy(self.ema_network), card, uncertainty_head=head
        )

    def save(self, *arguments: Any, **options: Any) -> NoReturn:
        """Raises an error: an inverter is saved, or the weights.

        Raises:
          InputError: always.
        """
        del arguments, options
        raise InputError(
            "an InversionModel is saved as an inverter, model.inverter().save(folder), or as "
            'weights, model.save_weights("model.weights.h5")'
        )

    def save_own_variables(self, store: Any) -> None:
        """Adds the standardisation to the weights in a file."""
        statistics = self._statistics()
        store["mean"], store["scale"] = statistics.mean, statistics.scale
        store["measured"] = np.int32(self._standardization is not None)

    def load_own_variables(self, store: Any) -> None:
        """Takes the standardisation from the weights in a file."""
        if np.asarray(store["measured"]):
            mean, scale = (np.asarray(store[name]) for name in ("mean", "scale"))
            self._set_statistics(Standardization(mean, scale, self.feature.log_floor))

    def _require_plan(self, method: str) -> _Plan:
        if self._plan is None:
            raise InputError(
                f"the model must be compiled with a loss before {method}, for example "
                'model.compile(loss="mse"). Received: a model that is not compiled'
            )
        return self._plan

    def _begin(
        self, settings: Settings, length: FitLength, dataset: Any, resume: ExactResume | None
    ) -> FitPosition:
        """Creates the training state if there is none, and restores it or its statistics."""
        plan = self._plan
        description = self._describe(settings, length, dataset)
        first_step = resume.check(description) if resume else None
        fresh = self._state is None
        if fresh:
            self._state = self._make_state(settings)
        state = self._state
        if first_step is None:
            first_step = int(state.step.numpy())
        position = FitPosition(first_step)
        if resume and resume.restore(state, description, position):
            self._set_statistics(state.standardization)
        elif self._standardization is None:
            with dataset.errors():
                state.measure_statistics(dataset.statistics_batches())
            self._set_statistics(state.standardization)
        if plan.optimizer is None and not (fresh and first_step == 0):
            optimizers = [each.optimizer for each in state.loss.trainable_losses]
            for optimizer in (state.optimizer, *optimizers):
                restart_schedule(optimizer, settings, first_step)
        return position

    def _make_state(self, settings: Settings) -> TrainingState:
        plan, networks = self._plan, iter((self.network, self.ema_network))
        average = self.ema_network.get_weights()
        with strategies.scope(self._strategy):
            state = TrainingState(
                self.feature, settings, lambda _: next(networks), plan.loss, plan.optimizer
            )
        self.ema_network.set_weights(average)
        if self._standardization is not None:
            state.standardization = self._standardization
        head = self._initial.uncertainty_head if self._initial is not None else None
        if head and state.head is not None:
            for each in (state.head, state.ema_head):
                each.set_weights(head.head.get_weights())
        self.optimizer = state.optimizer
        self._live = None
        return state

    def _describe(self, settings: Settings, length: FitLength, dataset: Any) -> dict[str, Any]:
        """Everything that determines the result of a fit, as JSON values."""
        plan = self._plan
        shapes = [tuple(weight.shape) for weight in self.network.weights]
        facts = dataclasses.asdict(settings)
        names = ("clip_norm", "spike_threshold", "ema_decay", "accumulation_steps", "uncertainty")
        description = {name: facts[name] for name in (*names, "precision", "batch_size", "seed")}
        if plan.optimizer is None:
            names = "optimizer", "learning_rate", "warmup_steps", "weight_decay", "steps"
            description |= {name: facts[name] for name in names}
        else:
            optimizer = plan.optimizer
            description["optimizer"] = f"{type(optimizer).__name__} {optimizer.get_config()}"
        return description | {
            "feature": str(features.describe(self.feature)),
            "network": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
            "loss": plan.description,
            "data": dataset.identity(),
            "initial_epoch": length.initial_epoch,
            "steps_per_epoch": length.steps_per_epoch,
        }

    def _finish(
        self, settings: Settings, position: FitPosition, dataset: Any, holdout: Examples | None
    ) -> None:
        """Calibrates the uncertainty head, and notes what `inverter` puts into the card."""
        if self._state.head is not None and holdout is not None and holdout.features is None:
            images = to_float(holdout.images[_subset(holdout)])
            inverter = self._current_inverter()
            inverter.uncertainty_head = UncertaintyHead(
                self._state.ema_head, np.ones(3, np.float32)
            )
            self._calibration = fit_std_scale(inverter, images)
            self._live = None
        plan = self._plan
        facts = dataclasses.asdict(settings) | {"loss": plan.description}
        if plan.optimizer is not None:
            facts["optimizer"] = type(plan.optimizer).__name__
        self._facts = facts | {
            "feature": self.feature.name,
            "image_size": self.image_size[0],
            "data": dataset.name,
            "steps": position.first_step + position.done,
        }

    def _batches(self, dataset: Any, start_step: int) -> Iterator[Any]:
        """Yields batches for the devices."""
        batches = dataset.batches(start_step)
        strategy = self._strategy
        if strategy and strategy.num_replicas_in_sync == 1:
            strategy = None
        if strategy and isinstance(batches, Iterator):
            import tensorflow as tf

            specs = [tf.TensorSpec(part.shape, part.dtype) for part in next(batches)]
            batches = tf.data.Dataset.from_generator(
                lambda: dataset.batches(start_step), output_signature=tuple(specs)
            )
        iterator = iter(strategies.distribute_dataset(strategy, batches, dataset.batch_size))
        while True:
            with dataset.errors():
                batch = next(iterator)
            yield batch

    def _open_training(
        self, x: Any, y: Any, batch_size: int | None, shuffle: bool, steps_per_epoch: int | None
    ) -> ArrayDataset | StreamDataset:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be positive. Received: {batch_size}")
        if not is_stream(x):
            examples = read_examples(self.feature, x if y is None else (x, y), "x")
            seed = self._base_settings.seed
            return ArrayDataset(
                self.feature, examples, batch_size or DEFAULT_BATCH_SIZE, seed, shuffle
            )
        if y is not None:
            raise InputError("y must be omitted if x is a data set. Received: both")
        return StreamDataset(self.feature, x, batch_size, steps_per_epoch)

    def _open_source(
        self, data: str, batch_size: int | None, shuffle: bool, split: str
    ) -> SourceDataset:
        if not shuffle:
            raise InputError(f"shuffle=False is for arrays; omit it. Received: {data!r}")
        settings = dataclasses.replace(
            self._plan.settings, batch_size=batch_size or DEFAULT_BATCH_SIZE
        )
        return SourceDataset(self.feature, data, settings, split)

    def _validate(self, holdout: Examples) -> dict[str, float]:
        """Loss and metrics of up to 512 evenly spaced images."""
        holdout = holdout[_subset(holdout)]
        reconstructions, targets = self._reconstruct(holdout), self._targets(holdout)
        scores = score_reconstructions(targets, reconstructions, with_lpips=False)
        metrics = {name: scores[name] for name in _METRICS if name in scores}
        if self._base_settings.uncertainty == "frozen":
            return metrics
        return {"loss": self._image_loss(holdout, targets, reconstructions)} | metrics

    def _image_loss(
        self, holdout: Examples, targets: np.ndarray, reconstructions: np.ndarray
    ) -> float:
        loss, values = self._state.loss, []
        for begin in range(0, len(targets), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            extra = ()
            if loss.trainable_losses:
                extra = (self._standardized_features(holdout[part]),)
            pair = (ops.convert_to_tensor(x[part]) for x in (targets, reconstructions))
            values.append(ops.convert_to_numpy(loss(*pair, *extra)))
        return float(np.concatenate(values).mean(dtype=np.float64))

    def _standardized_features(self, examples: Examples) -> Any:
        values = examples.features
        if values is None:
            values = self.feature(to_float(examples.images))
        return self._statistics()(ops.convert_to_tensor(values))

    def _reconstruct(self, examples: Examples) -> np.ndarray:
        inverter = self._current_inverter()
        if examples.features is not None:
            return inverter.invert(examples.features)
        return inverter.reconstruct(to_float(examples.images))

    def _targets(self, examples: Examples) -> np.ndarray:
        return resize_images(to_float(examples.images), self.network.output_shape[1:3])

    def _statistics(self) -> Standardization:
        if self._standardization is not None:
            return self._standardization
        shape = statistics_shape(self.feature)
        return Standardization(
            np.zeros(shape, np.float32), np.ones(shape, np.float32), self.feature.log_floor
        )

    def _set_statistics(self, standardization: Standardization) -> None:
        self._standardization = standardization
        if self._state is not None:
            self._state.standardization = standardization
        self._live = None  # it contains the old ones

    def _current_inverter(self) -> Inverter:
        """An inverter that shares the EMA network, and follows it."""
        if self._live is None:
            self._live = Inverter(self.feature, self._statistics(), self.ema_network)
        return self._live


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What `InversionModel.compile` was given.

    Attributes:
      settings: hyperparameters; steps and batch size are those of a fit.
      loss: the loss.
      description: of the loss, equal for equal losses.
      optimizer: None for that of the settings.
    """

    settings: Settings
    loss: CombinedLoss
    description: str
    optimizer: keras.optimizers.Optimizer | None


def _make_feature(
    feature: str | Feature | None,
    feature_shape: Sequence[int] | None,
    image_size: int | Sequence[int] | None,
    initial: Inverter | None,
) -> Feature:
    if (feature is None) == (feature_shape is None) and (feature or initial is None):
        raise InputError(
            "an InversionModel needs a feature, or feature_shape for features that were computed "
            f"elsewhere, not both. Received: feature={feature}, feature_shape={feature_shape}"
        )
    size = None
    if image_size is not None:
        size = tuple(np.broadcast_to(np.asarray(image_size), (2,)).tolist())
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise InputError(f"image_size must be positive integers. Received: {image_size}")
    if feature is None and feature_shape is None:
        feature = initial.feature
    if isinstance(feature, Feature):
        return feature.at(size) if size else feature
    size = size or (initial.feature.image_shape[:2] if initial else (64, 64))
    if feature_shape is not None:
        return StoredFeature(feature_shape, (*size, 3))
    if isinstance(feature, str):
        return features.get(feature, image_shape=(*size, 3))
    raise InputError(f"feature must be a name or a tfinvert Feature. Received: {feature!r}")


def _check_network(
    network: keras.Model | Callable[[Feature], keras.Model], feature: Feature, with_head: bool
) -> keras.Model:
    """Returns a network of the user's, after checking that it fits the feature."""
    if not isinstance(network, keras.Model) and callable(network):
        network = network(feature)
    shape = tuple(feature.spec.shape)
    try:
        fits = tuple(network.input_shape) == (None, *shape)
        output = tuple(network.output_shape)
        fits = fits and len(output) == 4 and output[-1] == 3 and None not in output[1:]
        received = f"from {network.input_shape} to {output}"
    except (AttributeError, TypeError, ValueError):
        fits, received = False, repr(network)
    if not fits:
        raise InputError(
            "network must be a functional Keras model with one input, features "
            f"{(None, *shape)}, and one output, images (None, height, width, 3). Received: "
            f"{received}"
        )
    last = {layer.name: layer for layer in network.layers}.get("image")
    if with_head and not isinstance(last, keras.layers.Conv2DTranspose):
        raise InputError(
            'uncertainty needs a network whose last layer is a Conv2DTranspose named "image". '
            f"Received: {last or network.layers[-1].name}"
        )
    return network


def _copy(model: keras.Model) -> keras.Model:
    """Returns a model with the same layers and weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _current_strategy() -> Any:
    """Returns the `tf.distribute` strategy in whose scope the caller is, or None."""
    if BACKEND != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None


def _check_callbacks(callbacks: Any, plan: _Plan) -> list[keras.callbacks.Callback]:
    """Returns callbacks as a list, after checking that they fit a model of this kind."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    callbacks = [*(callbacks or [])]
    for each in callbacks:
        name = type(each).__name__
        if isinstance(each, keras.callbacks.BackupAndRestore):
            raise InputError(
                "BackupAndRestore repeats steps when it resumes within an epoch; use "
                f"tfinvert.callbacks.ExactResume. Received: {name}"
            )
        if isinstance(each, keras.callbacks.ModelCheckpoint) and not each.save_weights_only:
            raise InputError(
                "ModelCheckpoint must have save_weights_only=True, as an InversionModel is saved "
                f"by its inverter. Received: {name}"
            )
        changes_rate = keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler
        if isinstance(each, changes_rate) and plan.optimizer is None:
            raise InputError(
                f"{name} changes a constant learning rate, but that of an optimizer by name "
                "follows a schedule; pass an object such as keras.optimizers.Adam(1e-3). "
                f"Received: optimizer={plan.settings.optimizer!r}"
            )
    if sum(isinstance(each, ExactResume) for each in callbacks) > 1:
        raise InputError("fit takes one ExactResume. Received: several")
    return callbacks


def _split(x: Any, y: Any, share: float, validation_data: Any) -> tuple[Any, Any, Any]:
    """Splits arrays into training and validation data; the latter are at their end."""
    if (
        validation_data is not None
        or not 0 < share < 1
        or isinstance(x, str)
        or is_stream(x)
        or x is None
    ):
        raise InputError(
            "validation_split must be in (0, 1), and is for arrays without validation_data. "
            f"Received: {share}"
        )
    count = int(len(x) * (1 - share))
    if y is None:
        return x[:count], None, x[count:]
    return x[:count], y[:count], (x[count:], y[count:])


def _check_holdout(examples: Examples, rule: str) -> None:
    """Checks that images can be scored: there are two, and they differ."""
    images = examples.images
    if len(images) < 2:
        raise InputError(f"{rule}. Received: one")
    if all(np.array_equal(images[0], image) for image in images[1:]):
        raise InputError(f"{rule} that differ. Received: {len(images)} identical images")


def _subset(examples: Examples) -> np.ndarray:
    return evenly_spaced_indices(len(examples), VALIDATION_IMAGES)
