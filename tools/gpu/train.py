"""Trains an inverter on a GPU with JAX, where TensorFlow is not installed.

    python tools/gpu/train.py --feature=hog --data=photos --size=128 --min_crop=0.5 --width=1.5 \\
        --minutes=1.25 --output=runs/hog

The step is that of `tfinvert train`. Photographs and views are in the GPU's memory; augmentation,
feature and step are one computation. The same flags with `--steps` give the same result up to
rounding. docs/gpu.md lists omissions.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before any import of Keras

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import fitting
import jax
import jax.numpy as jnp
import keras
import numpy as np
import photograph_arrays
import sift_views
import views
from absl import flags

from tfinvert import features, load
from tfinvert.commands import runtime
from tfinvert.common.backend import compile_function
from tfinvert.config.choices import UNCERTAINTY_MODES
from tfinvert.errors import InputError
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.inverter.flow_matching import FlowSampler
from tfinvert.networks import inversion
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.training import train_inverter, train_sampler
from tfinvert.training import train_step as inverter_step
from tfinvert.training.optimizers import MAX_MUON_SIDE, Muon, learning_rate_schedule
from tfinvert.training.settings import Settings as TrainingSettings
from tfinvert.training.state import TrainingState
from tfinvert.training.warm_start import check_initial_inverter

_MEASURED = 8  # batches from which standardisation and scale are computed


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of this program, except those of steps and output."""

    feature: str
    data: str | None = None
    thumbnails: str | None = None
    sift_views: tuple[str, ...] = ()
    size: int = 64
    min_crop: float = 1.0
    shift: int = 0
    mix: float = 0.0
    batch: int = 256
    rate: float = 3e-3
    decay: float = 0.02
    adam: float = 1.0
    largest: int = MAX_MUON_SIDE
    network: str = inversion.DEFAULT
    width: float = 1.0
    units: int = 0
    output_size: int = 0
    train_encoder: bool = False
    loss: str = "mse"
    uncertainty: str = "none"
    held_out: int = 256
    init_from: str | None = None
    train_sampler: bool = False
    precision: str = "bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        if bool(self.sift_views) != (self.feature.partition(":")[0] == "sift"):
            raise InputError(
                "--sift_views and --feature=sift require each other. Received: "
                f"--feature={self.feature} --sift_views={','.join(self.sift_views)}"
            )
        if not 0 <= self.mix <= 1:
            raise InputError(f"--mix must be in [0, 1]. Received: {self.mix}")
        for name, needed in (("data", self.mix < 1), ("thumbnails", self.mix > 0)):
            if needed != bool(getattr(self, name)) and not self.sift_views:
                condition = "below 1" if name == "data" else "above 0"
                raise InputError(
                    f"--{name} is required if --mix is {condition}, and only then. Received: "
                    f"--{name}={getattr(self, name)} --mix={self.mix}"
                )
        if (self.train_sampler or self.uncertainty == "frozen") and not self.init_from:
            raise InputError(
                "--train_sampler and --uncertainty=frozen require --init_from=INVERTER. Received: "
                "no inverter"
            )
        _ = self.training(1)

    def training(self, steps: int) -> TrainingSettings:
        """Returns the settings of the step.

        Raises:
          InputError: a value is out of range.
        """
        return TrainingSettings(
            steps=steps,
            batch_size=self.batch,
            learning_rate=self.rate,
            weight_decay=self.decay,
            network=self.network,
            width=self.width,
            hidden_units=self.units,
            train_encoder=self.train_encoder,
            loss=self.loss,
            uncertainty=self.uncertainty,
            precision=self.precision,
            seed=self.seed,
        )


class Job:
    """A training state, and its steps on data in the device's memory.

    Args:
      settings: the flags.
      data: see `load_data`.
      steps: number of steps of the learning-rate schedule.
    """

    def __init__(self, settings: Settings, data: views.Arrays, steps: int):
        self.settings, self._data = settings, data
        self._cut = views.Cut(settings.size, settings.min_crop, settings.shift, settings.mix)
        feature = features.get(settings.feature, image_shape=(settings.size, settings.size, 3))
        training = settings.training(steps)
        optimizer = Muon(
            learning_rate_schedule(training),
            weight_decay=settings.decay,
            adam_lr_ratio=settings.adam,
            max_side=settings.largest,
        )
        initial = load(settings.init_from) if settings.init_from else None
        self._initial = initial
        if settings.train_sampler:
            train_sampler.check_sampler_settings(initial, feature, training)
            self.state = train_sampler.FlowState(initial, training, optimizer)
            self.state.residual_std.assign(self._residual_std())
            self._step = train_sampler.make_train_step(self.state, training)
        else:
            size = (settings.output_size,) * 2 if settings.output_size else None
            shape = settings.width, settings.units, settings.network
            build = functools.partial(inversion.build, feature, size, *shape)
            self.state = TrainingState(feature, training, build, optimizer=optimizer)
            if initial:
                check_initial_inverter(initial, feature, self.state.network)
                train_inverter.copy_weights(initial, self.state)
            else:
                values = (features for _, features in self._measured())
                self.state.standardization = Standardization.measure(feature, values)
            self._step = inverter_step.make_train_step(self.state, training)
        self.take = fitting.compiled(self._step, self._batch)

    def pace(self) -> float:
        """Measures steps per second; the state does not change."""
        return fitting.pace(self.take, self._step.values, self._data)

    def fit(self, steps: int) -> float:
        """Trains; returns the seconds, without those of the compilation."""
        fitting.warm(self.take, self._step.values, self._data, min(steps, fitting.AT_ONCE))
        begin = time.perf_counter()
        values = fitting.fit(self.take, self._step.values, steps, self.settings.seed, self._data)
        self._step.assign(values)
        return time.perf_counter() - begin

    def inverter(self, held_out: np.ndarray | None) -> Inverter:
        """Returns the trained inverter; images calibrate its uncertainty head."""
        state = self.state
        if self.settings.train_sampler:
            flow = FlowSampler(state.ema_network, float(state.residual_std.numpy()))
            parts = state.feature, state.standardization, state.mean_network
            return Inverter(*parts, None, self._initial.uncertainty_head, flow)
        inverter = Inverter(state.ema_feature, state.standardization, state.ema_network)
        if state.head is None:
            return inverter
        inverter.uncertainty_head = UncertaintyHead(state.ema_head, np.ones(3, np.float32))
        return train_inverter.calibrate(inverter, held_out)

    def draw(self, data: views.Arrays, count: int) -> np.ndarray:
        """Draws views of data in memory, `[count, size, size, 3]` in [0, 1]."""
        drawn = jax.jit(lambda key, data: views.batch(key, data, count, self._cut)[0])
        return np.asarray(drawn(jax.random.key(self.settings.seed + 2), data))

    def _batch(self, key: jax.Array, data: views.Arrays) -> tuple[jax.Array, ...]:
        """Draws a batch of the step."""
        batch = views.batch(key, data, self.settings.batch, self._cut)
        if self.settings.train_sampler:
            first, second = jax.random.split(jax.random.fold_in(key, 1))
            count = self.settings.batch
            noise = jax.random.normal(first, (count, *self.state.network.output_shape[1:]))
            batch += noise, jax.nn.sigmoid(jax.random.normal(second, (count, 1)))
        return tuple(each for each in batch if each is not None)

    def _measured(self) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Yields views and their features, to compute statistics from."""
        feature, count = self.state.feature, self.settings.batch
        variables = feature.model.variables if feature.model else []
        compute = compile_function(feature, [(count, *feature.image_shape)], variables)
        draw = jax.jit(lambda key, data: views.batch(key, data, count, self._cut))
        for key in jax.random.split(jax.random.key(self.settings.seed + 1), _MEASURED):
            images, known = draw(key, self._data)
            yield images, compute(images) if known is None else known

    def _residual_std(self) -> float:
        """Measures the scale of the residuals of a sampler's inverter."""
        state = self.state
        standardization = state.standardization
        reconstruct = compile_function(
            lambda features: state.reconstruct(features, standardization)[1],
            [(self.settings.batch, *state.feature.spec.shape)],
            state.mean_network.variables,
        )
        squares = [jnp.square(x - reconstruct(features)).mean() for x, features in self._measured()]
        return float(jnp.sqrt(jnp.stack(squares).mean()))


def run(settings: Settings, steps: int, minutes: float = 0.0) -> Inverter:
    """Trains for `steps` or, if that is 0, `minutes`; returns the inverter with its card."""
    data, held_out = load_data(settings)
    if not steps:
        pace = Job(settings, data, fitting.AT_ONCE).pace()
        # Whole calls, as another number of steps would require another compilation.
        steps = max(int(pace * 60 * minutes) // fitting.AT_ONCE, 1) * fitting.AT_ONCE
        print(f"{steps} steps at {pace * settings.batch:.0f} images/s", flush=True)
    job = Job(settings, data, steps)
    parameters = job.state.network.count_params()
    print(f"{settings.feature}: {parameters} parameters", flush=True)
    seconds = job.fit(steps)
    if not job.state.is_finite():
        raise InputError("a weight is not finite; try a lower --rate. Received: no inverter")
    inverter = job.inverter(job.draw(held_out, settings.held_out) if held_out else None)
    inverter.card = dataclasses.asdict(settings) | {
        "steps": steps,
        "parameters": parameters,
        "training_minutes": round(seconds / 60, 2),
        "training_images_per_second": round(steps * settings.batch / seconds),
        "device": jax.devices()[0].device_kind,
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
    }
    images_per_second = inverter.card["training_images_per_second"]
    print(f"{steps} steps in {seconds:.0f} s, {images_per_second} images/s")
    return inverter


def load_data(settings: Settings) -> tuple[views.Arrays, views.Arrays | None]:
    """Loads the arrays to train on and, for an uncertainty head, those to calibrate it on."""
    if settings.sift_views:
        arrays = sift_views.load(settings.sift_views)
        parts = _hold_out(settings, arrays, lambda array, part: array[part])
        return tuple(part and {k: jnp.asarray(v) for k, v in part.items()} for part in parts)
    named = {"photographs": settings.data, "thumbnails": settings.thumbnails}
    loaded = {name: photograph_arrays.load(path) for name, path in named.items() if path}

    def cut(photographs: photograph_arrays.Photographs, part: slice) -> Any:
        return photograph_arrays.Photographs(*(array[part] for array in photographs))

    parts = _hold_out(settings, loaded, cut)
    return tuple(
        part and {name: views.on_device(each) for name, each in part.items()} for part in parts
    )


def _hold_out(
    settings: Settings, arrays: dict[str, Any], cut: Callable[[Any, slice], Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Splits off the last images, which are a random sample, if there is something to calibrate."""
    if settings.uncertainty == "none":
        return arrays, None
    ends = slice(-settings.held_out), slice(-settings.held_out, None)
    return tuple({name: cut(array, part) for name, array in arrays.items()} for part in ends)


def main() -> None:
    """Trains and saves the inverter."""
    names = [field.name for field in dataclasses.fields(Settings)]
    given = {name: getattr(FLAGS, name) for name in names}
    settings = Settings(**given | {"sift_views": tuple(FLAGS.sift_views)})
    if pathlib.Path(FLAGS.output).exists():
        raise InputError(f"--output must not exist yet. Received: {FLAGS.output}")
    if (FLAGS.steps > 0) == (FLAGS.minutes > 0):
        raise InputError(
            "pass either --steps or --minutes. Received: "
            f"--steps={FLAGS.steps} --minutes={FLAGS.minutes}"
        )
    run(settings, FLAGS.steps, FLAGS.minutes).save(FLAGS.output, "float16")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_string(
        "feature", None, "Feature to invert, as in `tfinvert train`.", required=True
    )
    flags.DEFINE_string("data", None, "Directory of photographs.py.")
    flags.DEFINE_string(
        "thumbnails", None, "Directory of photographs.py, for a share of each batch; not cropped."
    )
    flags.DEFINE_list(
        "sift_views", [], "For --feature=sift, instead of --data: directories of sift_views.py."
    )
    flags.DEFINE_integer("size", 64, "Side of the images in pixels.", lower_bound=1)
    flags.DEFINE_float("min_crop", 1.0, "Smallest crop, as a fraction of the shorter side.", 0, 1)
    flags.DEFINE_integer(
        "shift", 0, "Largest random translation of a thumbnail in pixels.", lower_bound=0
    )
    flags.DEFINE_float("mix", 0.0, "Share of thumbnails in a batch, in [0, 1].")
    flags.DEFINE_integer("batch", 256, "Images per step.")
    flags.DEFINE_float("rate", 3e-3, "Peak learning rate of Muon.")
    flags.DEFINE_float("decay", 0.02, "Decoupled weight decay, a multiple of the learning rate.")
    flags.DEFINE_float("adam", 1.0, "Multiplier of the learning rate for variables with AdamW.")
    flags.DEFINE_integer("largest", MAX_MUON_SIDE, "Largest smaller side of a kernel with Muon.")
    flags.DEFINE_enum("network", inversion.DEFAULT, list(inversion.NETWORKS), "Architecture.")
    flags.DEFINE_float("width", 1.0, "Multiplier of the network's channels.")
    flags.DEFINE_integer("units", 0, "Units per fully connected layer; 0 means 4096 x width.")
    flags.DEFINE_integer("output_size", 0, "Side of the reconstruction; 0 means the network's own.")
    flags.DEFINE_bool("train_encoder", False, "Train the feature's model too (autoencoder).")
    flags.DEFINE_string("loss", "mse", "Losses with optional weights, as in `tfinvert train`.")
    flags.DEFINE_enum(
        "uncertainty",
        "none",
        list(UNCERTAINTY_MODES),
        "Uncertainty head: none, joint with the network, or on the frozen --init_from inverter.",
    )
    flags.DEFINE_integer(
        "held_out", 256, "With --uncertainty: images of each array kept for calibration.", 1
    )
    flags.DEFINE_string("init_from", None, "Inverter whose weights initialise the training.")
    flags.DEFINE_bool("train_sampler", False, "Train a sampler for the --init_from inverter.")
    flags.DEFINE_enum(
        "precision", "bfloat16", ["float32", "bfloat16"], "Compute precision of the network."
    )
    flags.DEFINE_integer("seed", 0, "Random seed of weights and views.")
    flags.DEFINE_integer("steps", 0, "Number of steps; instead of --minutes.")
    flags.DEFINE_float(
        "minutes", 0.0, "Training time; the number of steps follows from the measured speed."
    )
    flags.DEFINE_string("output", None, "Directory to write.", required=True)
    runtime.run(main)
