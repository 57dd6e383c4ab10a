"""Trains an inverter on a GPU with JAX; `collect.py` converts the result to an inverter.

    python tools/gpu/train.py --feature=hog --data=photos --size=128 --min_crop=0.5 --width=1.5 \\
        --minutes=1.25 --output=hog.npz

Photographs and views are in the GPU's memory; augmentation, feature and step are one computation.
The same flags with `--steps` give the same result up to rounding. docs/gpu.md lists omissions.
"""

import on_jax  # noqa: F401  # isort: skip  # before any import of TensorFlow

import dataclasses
import functools
import json
import time

import fitting
import jax
import jax.numpy as jnp
import keras
import muon
import numpy as np
import photograph_arrays
import sift_views
import views
from absl import flags

from tfinvert import features
from tfinvert.commands import runtime
from tfinvert.common.files import atomic_path
from tfinvert.common.images import resize_batch
from tfinvert.errors import InputError
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion
from tfinvert.training.losses import mse

_MEASURED = 8  # batches from which the standardisation is computed


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
    largest: int = muon.MAX_MUON_SIDE
    network: str = inversion.DEFAULT
    width: float = 1.0
    units: int = 0
    output_size: int = 0
    train_encoder: bool = False
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
        if self.batch < 1:
            raise InputError(f"--batch must be positive. Received: {self.batch}")


class Job:
    """Feature, standardisation and network of some settings, with the data on the device."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._cut = views.Cut(settings.size, settings.min_crop, settings.shift, settings.mix)
        keras.utils.set_random_seed(settings.seed)
        feature = features.get(settings.feature, image_shape=(settings.size, settings.size, 3))
        self.feature = feature.trainable_copy() if settings.train_encoder else feature
        self.network = inversion.build(
            self.feature,
            (settings.output_size,) * 2 if settings.output_size else None,
            settings.width,
            settings.units,
            settings.network,
            settings.precision,
        )
        self.data = _data(settings)
        model = self.feature.model
        self.encoder = _values(model.trainable_variables) if model else []
        self._fixed = _values(model.non_trainable_variables) if model else []
        self.standardization = self._measured()

    @property
    def variables(self) -> list[keras.Variable]:
        """Trained variables, the network's first."""
        encoder = self.feature.model.trainable_variables if self.settings.train_encoder else []
        return [*self.network.trainable_variables, *encoder]

    def rebuild(
        self,
        parameters: muon.Arrays,
        images: jax.Array | None,
        encoder: muon.Arrays,
        known: jax.Array | None = None,
    ) -> jax.Array:
        """Reconstructs images from their features, which are computed unless given."""
        count = len(self.network.trainable_variables)
        encoder = parameters[count:] if self.settings.train_encoder else encoder
        values = self._features(images, encoder) if known is None else known
        image, _ = self.network.stateless_call(
            parameters[:count], [], self.standardization(values), training=True
        )
        return image.astype(jnp.float32)

    def loss(
        self, parameters: muon.Arrays, key: jax.Array, data: views.Arrays, encoder: muon.Arrays
    ) -> jax.Array:
        """Computes the mean squared error of a random batch."""
        images, known = views.batch(key, data, self.settings.batch, self._cut)
        rebuilt = self.rebuild(parameters, images, encoder, known)
        return mse(resize_batch(images, rebuilt.shape[1:3]), rebuilt).mean()

    def arrays(self, state: fitting.State) -> dict[str, np.ndarray]:
        """Returns the saved arrays: averaged parameters and standardisation."""
        count = len(self.network.trainable_variables)
        values = [np.asarray(value).astype(np.float16) for value in state.averages]
        named = zip(self.network.trainable_variables, values[:count], strict=True)
        arrays = {f"network/{variable.path}": value for variable, value in named}
        arrays |= {f"encoder/{i}": value for i, value in enumerate(values[count:])}
        arrays["feature/mean"] = self.standardization.mean
        arrays["feature/scale"] = self.standardization.scale
        return arrays

    def _features(self, images: jax.Array, encoder: muon.Arrays) -> jax.Array:
        model = self.feature.model
        if model is None:
            return self.feature.compute(images)
        # The weights are arguments, as constants would be compiled into the program.
        values, _ = model.stateless_call(encoder, self._fixed, images, training=False)
        return values.astype(jnp.float32)

    def _measured(self) -> Standardization:
        @jax.jit
        def values(key: jax.Array, data: views.Arrays, encoder: muon.Arrays) -> jax.Array:
            images, known = views.batch(key, data, self.settings.batch, self._cut)
            return self._features(images, encoder) if known is None else known

        keys = jax.random.split(jax.random.key(self.settings.seed + 1), _MEASURED)
        batches = (values(key, self.data, self.encoder) for key in keys)
        return Standardization.measure(self.feature, batches)


def run(settings: Settings, steps: int, minutes: float = 0.0) -> dict[str, np.ndarray]:
    """Trains for `steps` or, if that is 0, `minutes`; returns the saved arrays."""
    job = Job(settings)
    print(f"{settings.feature}: {job.network.count_params()} parameters", flush=True)
    paths = [variable.path for variable in job.network.trainable_variables]
    paths += [f"encoder/{x.path}" for x in job.variables[len(paths) :]]
    chosen = {name: getattr(settings, name) for name in ("decay", "adam", "largest")}
    move = functools.partial(muon.update, paths, **chosen)
    take = fitting.compiled(job.loss, move)
    parameters, given = _values(job.variables), (job.data, job.encoder)
    if steps:
        fitting.warm(take, fitting.start(parameters), given, min(steps, fitting.AT_ONCE))
    else:
        pace = fitting.pace(take, fitting.start(parameters), given)
        # Whole calls, as another number of steps would require another compilation.
        steps = max(int(pace * 60 * minutes) // fitting.AT_ONCE, 1) * fitting.AT_ONCE
        print(f"{steps} steps at {pace * settings.batch:.0f} images/s", flush=True)
    begin = time.perf_counter()
    state = fitting.start(parameters)
    state = fitting.fit(take, state, steps, settings.rate, settings.seed, given)
    seconds = time.perf_counter() - begin
    made = dataclasses.asdict(settings) | {
        "steps": steps,
        "parameters": job.network.count_params(),
        "training_minutes": round(seconds / 60, 2),
        "training_images_per_second": round(steps * settings.batch / seconds),
        "device": jax.devices()[0].device_kind,
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
    }
    print(f"{steps} steps in {seconds:.0f} s, {made['training_images_per_second']} images/s")
    return {**job.arrays(state), "made": np.array(json.dumps(made))}


def _data(settings: Settings) -> views.Arrays:
    if settings.sift_views:
        return {k: jnp.asarray(v) for k, v in sift_views.load(settings.sift_views).items()}
    named = {"photographs": settings.data, "thumbnails": settings.thumbnails}
    loaded = {name: photograph_arrays.load(path) for name, path in named.items() if path}
    return {name: views.on_device(each) for name, each in loaded.items()}


def _values(variables: list[keras.Variable]) -> muon.Arrays:
    return [jnp.asarray(variable.value) for variable in variables]


def main() -> None:
    """Trains and writes the arrays."""
    names = [field.name for field in dataclasses.fields(Settings)]
    given = {name: getattr(FLAGS, name) for name in names}
    settings = Settings(**given | {"sift_views": tuple(FLAGS.sift_views)})
    if not FLAGS.output.endswith(".npz"):
        raise InputError(f"--output must end with .npz. Received: {FLAGS.output}")
    if (FLAGS.steps > 0) == (FLAGS.minutes > 0):
        raise InputError(
            "pass either --steps or --minutes. Received: "
            f"--steps={FLAGS.steps} --minutes={FLAGS.minutes}"
        )
    arrays = run(settings, FLAGS.steps, FLAGS.minutes)
    with atomic_path(FLAGS.output) as temporary:
        np.savez(temporary, **arrays)


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
    flags.DEFINE_integer(
        "largest", muon.MAX_MUON_SIDE, "Largest smaller side of a kernel with Muon."
    )
    flags.DEFINE_enum("network", inversion.DEFAULT, list(inversion.NETWORKS), "Architecture.")
    flags.DEFINE_float("width", 1.0, "Multiplier of the network's channels.")
    flags.DEFINE_integer("units", 0, "Units per fully connected layer; 0 means 4096 x width.")
    flags.DEFINE_integer("output_size", 0, "Side of the reconstruction; 0 means the network's own.")
    flags.DEFINE_bool("train_encoder", False, "Train the feature's model too (autoencoder).")
    flags.DEFINE_enum(
        "precision", "bfloat16", ["float32", "bfloat16"], "Compute precision of the network."
    )
    flags.DEFINE_integer("seed", 0, "Random seed of weights and views.")
    flags.DEFINE_integer("steps", 0, "Number of steps; instead of --minutes.")
    flags.DEFINE_float(
        "minutes", 0.0, "Training time; the number of steps follows from the measured speed."
    )
    flags.DEFINE_string("output", None, "File to write (.npz).", required=True)
    runtime.run(main)
