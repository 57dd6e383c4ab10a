"""`InversionModel`: training from Python, as any Keras model."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from PIL import Image

import tfinvert
from tests.programs import run_on_jax
from tests.refusals import refused
from tests.training.runs import SETTINGS, fewer_statistics_images
from tfinvert.training import strategies
from tfinvert.training.array_datasets import ArrayDataset, read_examples

NETWORK = {"network": "paper", "width": 0.125}
STEP = {"clip_norm": np.inf, "spike_threshold": np.inf, "ema_decay": 0.9}
ADAM = {"optimizer": "adam", "learning_rate": 2e-3, "warmup_steps": 2, **STEP}


# Keras 3.15 converts its variables to NumPy in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Brightness(tfinvert.features.Feature):
    """The mean brightness of each cell of 4×4 pixels."""

    name = "brightness"

    @property
    def spec(self):
        return tf.TensorSpec((*(side // 4 for side in self.image_shape[:2]), 1), tf.float32)

    def compute(self, images):
        return ops.average_pool(ops.mean(images, -1, keepdims=True), 4, strides=4)


def small_network(feature):
    x = inputs = keras.Input(tuple(feature.spec.shape))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="leaky_relu")(x)
    x = keras.layers.Conv2DTranspose(3, 4, strides=4, name="image")(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def images(photos):
    """Some photographs, `[24, 32, 32, 3]`."""
    return photos[:24, ::2, ::2]


def make_model(loss="mse", feature=None, **options):
    """A compiled model of 32 pixels: of `Brightness` with two layers, which are quick to trace."""
    if feature is None:
        feature, network = Brightness((32, 32, 3)), {"network": small_network}
    else:
        network = {"image_size": 32, **NETWORK}
    model = tfinvert.InversionModel(feature, **network, **options)
    model.compile(loss=loss, **ADAM)
    return model


def fit(model, images, epochs=2, **options):
    """Trains for three steps per epoch."""
    return model.fit(images, batch_size=8, epochs=epochs, verbose=0, **options)


class Events(keras.callbacks.Callback):
    """Records the calls of a callback, and stops training after a number of steps."""

    def __init__(self, stop_after=None, error_after=None):
        super().__init__()
        self.calls, self.losses, self.logs = [], [], []
        self._stop_after, self._error_after = stop_after, error_after

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(batch)
        self.losses.append(logs["loss"])
        if len(self.losses) == self._error_after:
            raise KeyboardInterrupt
        self.model.stop_training = len(self.losses) == self._stop_after

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))

    def on_train_end(self, logs=None):
        self.calls.append("end")


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A model trained on photographs with several callbacks: the model, its history and these."""
    folder = tmp_path_factory.mktemp("trained")
    events, model = Events(), make_model()
    callbacks = [
        events,
        keras.callbacks.TensorBoard(folder / "logs"),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True),
        tfinvert.callbacks.ReconstructionImages(folder / "images", images[:3]),
    ]
    history = fit(model, images, validation_data=images[::3], callbacks=callbacks)
    return model, history, events, folder


def test_callbacks_are_called_as_by_keras(trained):
    _, history, events, _ = trained
    assert events.calls == ["begin", "epoch 0", 0, 1, 2, "epoch 1", 0, 1, 2, "end"]
    assert isinstance(history, keras.callbacks.History) and history.epoch == [0, 1]
    expected = np.reshape(events.losses, (2, 3)).mean(1)
    np.testing.assert_allclose(history.history["loss"], expected, rtol=1e-6)
    assert [logs["val_ssim"] for logs in events.logs] == history.history["val_ssim"]
    assert {"val_loss", "val_normalized_error", "val_psnr_db"} < history.history.keys()


def test_validation_loss_is_the_loss_of_the_reconstructions(trained, images):
    model, history, _, _ = trained
    error = np.square(model.predict(images[::3]) - images[::3]).mean()
    np.testing.assert_allclose(history.history["val_loss"][-1], error, rtol=1e-5)


def test_tensorboard_receives_scalars_and_images(trained):
    *_, folder = trained
    tags = set()
    for path in folder.rglob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    assert {"epoch_loss", "epoch_learning_rate", "original | reconstruction"} <= tags


def test_saved_weights_contain_all_that_reconstruction_needs(trained, images):
    model, _, _, folder = trained
    other = make_model(seed=1)
    other.load_weights(folder / "2.weights.h5")
    np.testing.assert_allclose(other.predict(images), model.predict(images), atol=1e-6)


def test_model_inverter_and_saved_inverter_agree(trained, images, tmp_path):
    model, *_ = trained
    expected = model.predict(images)
    inverter = model.inverter()
    np.testing.assert_allclose(inverter.reconstruct(images), expected, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), expected, atol=1e-5)
    eight_bit = np.rint(255 * images).astype(np.uint8)
    np.testing.assert_allclose(model.predict(eight_bit), expected, atol=1e-3)
    features = inverter.encode(images)
    np.testing.assert_allclose(model.predict(features), expected, atol=1e-5)
    inverter.save(tmp_path / "inverter")
    tfinvert.features.register("brightness", Brightness)
    loaded = tfinvert.load(tmp_path / "inverter")
    np.testing.assert_allclose(loaded.reconstruct(images), expected, atol=1e-6)
    assert loaded.card["steps"] == 6 and loaded.card["loss"] == "1 × mse"


def test_evaluate_measures_reconstructions(trained, images):
    model, *_ = trained
    scores = model.evaluate(images)
    assert [*scores] == ["normalized_error", "psnr_db", "ssim", "lpips"]
    error = tfinvert.metrics.normalized_error(images, model.predict(images))
    np.testing.assert_allclose(scores["normalized_error"], error, rtol=1e-5)
    pairs = model.evaluate(model.inverter().encode(images), images)
    np.testing.assert_allclose(pairs["ssim"], scores["ssim"], rtol=1e-4)
    stream = tf.data.Dataset.from_tensor_slices(images).batch(5)
    np.testing.assert_allclose(model.evaluate(stream)["ssim"], scores["ssim"], rtol=1e-6)


@pytest.mark.slow
def test_fit_trains_as_the_command_does(train):
    """The same data, seed and settings give the same network, of which validation is no part."""
    with fewer_statistics_images():
        inverter, history = train(SETTINGS)
        model = make_model(feature="hog")
        fitted = fit(model, "photos", steps_per_epoch=3)
    trained = model.inverter()
    for ours, theirs in zip(
        trained.network.get_weights(), inverter.network.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(trained.standardization.mean, inverter.standardization.mean)
    losses = np.reshape([entry["loss"] for entry in history], (2, 3)).mean(1)
    np.testing.assert_allclose(fitted.history["loss"], losses, rtol=1e-6)


@pytest.fixture(scope="module")
def unbroken(images):
    """The weights and the history of twelve steps, four per epoch."""
    model = make_model(seed=3)
    history = model.fit(images, batch_size=6, epochs=3, verbose=0, validation_data=images[:4])
    return model.network.get_weights(), model.predict(images[:2]), history


def resumed(images, folder, *, every=None, **stop):
    """Trains as `unbroken` in a new model, which resumes what is in the folder."""
    model = make_model(seed=3)
    callbacks = [tfinvert.callbacks.ExactResume(folder, every=every), Events(**stop)]
    history = model.fit(
        images,
        batch_size=6,
        epochs=3,
        verbose=0,
        validation_data=images[:4],
        callbacks=callbacks,
    )
    return model, history, callbacks[1]


def assert_equal_outcome(unbroken, model, history, images):
    weights, reconstructions, expected = unbroken
    for ours, theirs in zip(model.network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(model.predict(images[:2]), reconstructions)
    assert history.epoch == expected.epoch
    for name, values in expected.history.items():
        np.testing.assert_array_equal(history.history[name], values)


@pytest.fixture(scope="module")
def stopped(images, tmp_path_factory):
    """The folder of a run that a callback stopped after seven steps."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    *_, events = resumed(images, folder, stop_after=7)
    assert len(events.losses) == 7
    return folder


def test_stopped_fit_resumes_in_the_middle_of_an_epoch(unbroken, stopped, images, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    model, history, events = resumed(images, tmp_path / "run")
    assert events.calls == ["begin", "epoch 1", 3, "epoch 2", 0, 1, 2, 3, "end"]
    assert_equal_outcome(unbroken, model, history, images)
    model, history, events = resumed(images, tmp_path / "run")  # there is nothing left to do
    assert events.calls == ["begin", "end"]
    assert_equal_outcome(unbroken, model, history, images)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 5, 7])
def test_failed_fit_resumes_from_the_last_checkpoint(unbroken, images, tmp_path, steps):
    with pytest.raises(KeyboardInterrupt):
        resumed(images, tmp_path / "run", every=3, error_after=steps)
    model, history, events = resumed(images, tmp_path / "run", every=3)
    assert len(events.losses) == 12 - {4: 3, 5: 4, 7: 6}[steps]
    assert_equal_outcome(unbroken, model, history, images)


def test_resuming_with_other_settings_is_refused(stopped, images, tmp_path):
    resume = tfinvert.callbacks.ExactResume(stopped)

    def start(model, images, **options):
        return lambda: model.fit(images, verbose=0, callbacks=[resume], **options)

    options = {"batch_size": 6, "epochs": 3}
    model = make_model(seed=3)
    refused(start(model, images, batch_size=8, epochs=3), "batch_size=8 (was 6)")
    refused(start(model, images[::-1], **options), "data=")
    model.compile(loss="mae", **ADAM)
    refused(start(model, images, **options), "loss=1 × mae (was 1 × mse)")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    resume = tfinvert.callbacks.ExactResume(tmp_path / "other")
    refused(start(model, images, **options), "empty folder")


def test_pairs_of_features_and_images(images, tmp_path):
    rng = np.random.default_rng(0)
    embeddings = images.reshape(24, -1) @ rng.normal(size=(32 * 32 * 3, 12)).astype(np.float32)
    model = tfinvert.InversionModel(
        feature_shape=(12,), image_size=32, network="paper", width=0.125, hidden_units=16
    )
    model.compile(loss="mse", **ADAM)
    history = model.fit(x=embeddings, y=images, batch_size=8, epochs=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.evaluate(embeddings, images)["normalized_error"] < 1.2
    model.inverter().save(tmp_path / "pairs")
    inverter = tfinvert.load(tmp_path / "pairs")
    np.testing.assert_allclose(inverter.invert(embeddings), model.predict(embeddings), atol=1e-6)
    refused(lambda: inverter.encode(images), "stored/12 was computed elsewhere", "call invert")
    refused(lambda: inverter.reconstruct(images), "stored/12 was computed elsewhere")
    refused(lambda: fit(model, images), "pass features")
    refused(lambda: model.fit(embeddings[:5], images, verbose=0), "5 features", "24 images")
    refused(lambda: model.fit(embeddings[:, :5], images, verbose=0), "(24, 5)")


def brightness_loss(images, reconstructions):
    return ops.mean(ops.square(ops.mean(images - reconstructions, -1)), (1, 2))


def test_own_feature_network_loss_and_optimizer(images):
    """Objects that are passed in, without a registration."""
    loss = [brightness_loss, keras.losses.MeanAbsoluteError(), tfinvert.losses.SSIM(), "mse:2"]
    model = tfinvert.InversionModel(Brightness((32, 32, 3)), network=small_network)
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, loss, loss_weights=[1, 2, 3, 4], **STEP)
    before = model.predict(images)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10)
    history = fit(model, images, 4, callbacks=[plateau])
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert float(ops.convert_to_numpy(optimizer.learning_rate)) < 0.05
    after = model.predict(images)
    assert np.square(after - images).mean() < np.square(before - images).mean()
    assert model.optimizer is optimizer and int(optimizer.iterations.numpy()) == 12
    model.fit(images, batch_size=8, verbose=0)
    assert int(optimizer.iterations.numpy()) == 15


def test_terms_of_a_loss_add_up(images):
    """The loss of the first step, from the reconstructions of the untrained network."""
    losses = ["mse:2,ssim", keras.losses.MeanAbsoluteError(), brightness_loss]
    model, untrained, events = make_model(losses), make_model(losses), Events()
    model.fit(images[:8], verbose=0, callbacks=[events])
    features = model.inverter().standardization(untrained.feature(images[:8]))
    outputs = ops.convert_to_numpy(untrained.network(features))
    difference = outputs - images[:8]
    expected = [
        2 * np.square(difference).mean(),
        1 - tfinvert.metrics.ssim(images[:8], outputs),
        np.abs(difference).mean(),
        np.square(difference.mean(-1)).mean(),
    ]
    np.testing.assert_allclose(events.losses, [sum(expected)], rtol=1e-4)


@pytest.mark.parametrize("as_batches", [pytest.param(False, marks=pytest.mark.slow), True])
def test_data_sets_train_as_arrays(images, as_batches):
    stream = tf.data.Dataset.from_tensor_slices(images)
    stream = stream.batch(8) if as_batches else stream
    models = [make_model(), make_model()]
    fit(models[0], images, shuffle=False)
    size = None if as_batches else 8
    models[1].fit(stream, batch_size=size, epochs=2, verbose=0)
    for one, other in zip(*(each.network.get_weights() for each in models), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


def test_arrays_are_visited_once_per_epoch(images):
    feature = Brightness((32, 32, 3))
    examples = read_examples(feature, np.rint(255 * images[:10]).astype(np.uint8), "x")
    dataset = ArrayDataset(feature, examples, 4, seed=1)
    batches = dataset.batches()
    epoch = np.concatenate([next(batches)[0] for _ in range(5)])  # of two epochs
    for half in (epoch[:10], epoch[10:]):
        order = [int(np.square(half - image).sum((1, 2, 3)).argmin()) for image in images[:10]]
        assert sorted(order) == [*range(10)] and order != [*range(10)]
    np.testing.assert_array_equal(next(dataset.batches(4))[0], epoch[16:20])
    assert dataset.steps_per_epoch == 3


NAN, OUTSIDE = np.full((4, 32, 32, 3), np.nan, np.float32), np.full((4, 32, 32, 3), 1.5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((0, 32, 32, 3)), ["at least one image"]),
        ([], ["at least one image"]),
        (np.zeros((4, 30, 32, 3)), ["[n, 32, 32, 3]", "(4, 30, 32, 3)"]),
        ([np.zeros((32, 32, 3)), np.zeros((24, 32, 3))], ["one size", "(24, 32, 3)"]),
        (NAN, ["NaN"]),
        (OUTSIDE, ["in [0, 1]", "1.5"]),
        (np.zeros((4, 32, 32, 3), np.int32), ["int32"]),
        (np.linspace(-1, 1, 4 * 32 * 32 * 3).reshape(4, 32, 32, 3), ["from -1 to 1"]),
        ("nowhere", ["data must be photos"]),
        ("nowhere.png", ["No such file"]),
    ],
)
def test_wrong_images_are_refused(data, words):
    model = make_model()
    refused(lambda: fit(model, data), *words)
    refused(lambda: fit(model, np.zeros((4, 32, 32, 3)), validation_data=data), *words)


@pytest.mark.parametrize("kind", ["arrays", "batches"])
def test_images_of_one_colour_are_refused(kind):
    black, calls = np.zeros((8, 32, 32, 3), np.float32), Events()
    data = tf.data.Dataset.from_tensor_slices(black).batch(4) if kind == "batches" else black
    refused(lambda: make_model().fit(data, callbacks=[calls], verbose=0), "a single colour")
    assert calls.calls == []


def test_identical_images_cannot_be_scored(images):
    model, same = make_model(), np.stack([images[0]] * 4)
    refused(lambda: model.evaluate(same), "identical")
    refused(lambda: fit(model, images, validation_data=same), "identical")


def test_one_image_or_feature_gives_one_reconstruction(images, tmp_path):
    model = make_model()
    file = tmp_path / "photo.png"
    Image.fromarray(np.uint8(np.rint(255 * images[0]))).save(file)
    expected = model.predict(images[:1])[0]
    kinds = [images[0], file, str(file), Image.open(file), np.uint8(np.rint(255 * images[0]))]
    for image in [*kinds, images[0].astype(np.longdouble), ops.convert_to_tensor(images[0])]:
        np.testing.assert_allclose(model.predict(image), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(kinds), [expected] * 5, atol=1e-5)
    features = np.asarray(model.feature(images[:2]))
    np.testing.assert_allclose(model.predict(features[0]), expected, atol=1e-5)
    fit(model, [file, images[1], Image.open(file)], epochs=1)
    refused(lambda: model.evaluate(file), "at least two")
    assert model.evaluate([file, images[1]])["psnr_db"] > 0


def test_wrong_data_sets_are_refused(images):
    model = make_model()
    stream = tf.data.Dataset.from_tensor_slices(images)
    refused(lambda: model.fit(stream.repeat()), "steps_per_epoch")
    refused(lambda: model.fit(stream.take(0)), "at least")
    refused(lambda: model.fit(stream.map(lambda image: image[:16])), "(32, 32, 3)")
    refused(lambda: model.fit(stream, images), "y must be omitted")
    nan = stream.map(lambda image: image * np.nan).batch(8)
    refused(lambda: model.fit(nan, verbose=0), "NaN")


def test_wrong_use_is_refused(images):
    model = tfinvert.InversionModel("hog", 32, **NETWORK)
    refused(lambda: model.fit(images), "compiled with a loss")
    refused(lambda: model.compile("adam"), "needs a loss")
    refused(lambda: model.compile(loss="cosine"), "--loss must be one of")
    refused(lambda: model.compile(loss=[]), "needs a loss")
    refused(lambda: model.compile(loss=3), "a loss must be one of")
    refused(lambda: model.compile(loss=["mse"], loss_weights=[1, 2]), "loss_weights")
    refused(lambda: model.compile("sgd", "mse"), "--optimizer must be one of")
    refused(lambda: model.compile(keras.optimizers.SGD(), "mse", learning_rate=1), "learning_rate")
    refused(lambda: model.compile(loss="mse", learning_rate=-1), "--learning_rate")
    refused(lambda: model.save("model.keras"), "inverter().save")
    mean = lambda images, reconstructions: ops.mean(images - reconstructions)  # noqa: E731
    refused(lambda: model.compile(loss=mean), "a value for each image")
    model.compile(loss="mse")
    refused(lambda: model.fit(images, epochs=0), "epochs")
    refused(lambda: model.fit(images, batch_size=0), "batch_size")
    refused(lambda: model.evaluate(images[:1]), "at least two")
    refused(lambda: model.predict(images[:, :8]), "features of hog")
    for callback, word in (
        (keras.callbacks.BackupAndRestore("backup"), "ExactResume"),
        (keras.callbacks.ModelCheckpoint("model.keras"), "save_weights_only"),
        (keras.callbacks.ReduceLROnPlateau(), "schedule"),
    ):
        refused(lambda callback=callback: model.fit(images, callbacks=[callback]), word)


def test_wrong_models_are_refused():
    make = tfinvert.InversionModel
    refused(lambda: make(), "needs a feature")
    refused(lambda: make("hog", feature_shape=(3,)), "not both")
    refused(lambda: make(3), "must be a name")
    refused(lambda: make("hog", (32, 0)), "image_size")
    refused(lambda: make(feature_shape=(3, 4)), "feature_shape")
    refused(lambda: make("hog", 32, network=keras.Sequential([keras.Input((3,))])), "functional")
    refused(lambda: make("hog", 32, network="other"), "--network")

    def unnamed(feature):
        x = inputs = keras.Input(tuple(feature.spec.shape))
        return keras.Model(inputs, keras.layers.Conv2DTranspose(3, 4, strides=4)(x))

    brightness = Brightness((32, 32, 3))
    refused(lambda: make(brightness, network=unnamed, uncertainty="joint"), "named")
    refused(lambda: make("hog", 32, uncertainty="frozen"), "init_from")
    refused(lambda: tfinvert.load("hog-64x"), "there is no inverter")
    refused(lambda: tfinvert.features.get("stored/x"), "stored/384")
    refused(lambda: tfinvert.losses.Adversarial()(0, 0), "InversionModel.compile")


def test_loss_objects_are_functions(small_photos):
    one, other = small_photos[:3], small_photos[3:6]
    for loss, text in (
        (tfinvert.losses.MSE(), "mse"),
        (tfinvert.losses.MAE(), "mae"),
        (tfinvert.losses.SSIM(), "ssim"),
        (tfinvert.losses.Perceptual("squeezenet/fire3"), "perceptual=squeezenet/fire3"),
    ):
        values = ops.convert_to_numpy(loss(one, other))
        expected = tfinvert.losses.make_loss(text, (32, 32))(one, other)
        np.testing.assert_allclose(values, ops.convert_to_numpy(expected), rtol=1e-6)


def test_second_fit_continues_with_a_new_schedule(images):
    model = make_model()
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    for _ in range(2):
        fit(model, images, callbacks=[Rates()])
    np.testing.assert_allclose(rates[:6], rates[6:], rtol=1e-5)
    assert max(rates) > 1e-3
    assert model.inverter().card["steps"] == 12


@pytest.mark.slow
def test_training_can_start_from_an_inverter(images, trained):
    source, *_ = trained
    model = tfinvert.InversionModel(init_from=source.inverter(), uncertainty="frozen")
    model.compile(**ADAM)
    history = fit(model, images, 3, validation_data=images)
    assert history.history["loss"][-1] < history.history["loss"][0]
    inverter = model.inverter()
    np.testing.assert_allclose(inverter.reconstruct(images), source.predict(images), atol=1e-6)
    features = inverter.encode(images)
    inside = np.abs(inverter.invert(features) - images) <= inverter.uncertainty(features)
    assert 0.6 < inside.mean() < 0.75


@pytest.mark.slow
def test_adversarial_training_resumes_exactly(images, tmp_path):
    def run(folder, **stop):
        model = make_model(["mse", tfinvert.losses.Adversarial()], "hog")
        callbacks = [tfinvert.callbacks.ExactResume(folder), Events(**stop)]
        return model, fit(model, images, 4, callbacks=callbacks)

    expected, history = run(tmp_path / "unbroken")
    assert "discriminator_loss" in history.history
    run(tmp_path / "broken", stop_after=7)
    model, resumed_history = run(tmp_path / "broken")
    for one, other in zip(*(each.network.get_weights() for each in (model, expected)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed_history.history == history.history


@pytest.mark.slow
def test_replicas_train_as_one_device(images):
    models = []
    for name in ("one", "mirrored"):
        with strategies.make_strategy(name).scope():
            models.append(make_model())
        fit(models[-1], images)
    for one, other in zip(*(each.network.get_weights() for each in models), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


ON_JAX = """
import sys
import numpy as np, keras, tfinvert
assert keras.backend.backend() == "jax"
images = np.load(sys.argv[1])

def run(folder, epochs):
    model = tfinvert.InversionModel(init_from=sys.argv[2] + "/start")
    model.compile("adam", ["mse", tfinvert.losses.SSIM()], learning_rate=2e-3, warmup_steps=2)
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = epochs == 1 and batch == 1
    callbacks = [tfinvert.callbacks.ExactResume(folder), Stop()]
    history = model.fit(images, batch_size=8, epochs=2, verbose=0, validation_data=images,
                        callbacks=callbacks)
    return model, history

model, history = run(sys.argv[2] + "/one", 2)
run(sys.argv[2] + "/two", 1)
other, resumed = run(sys.argv[2] + "/two", 2)
assert history.history == resumed.history, (history.history, resumed.history)
for a, b in zip(model.network.get_weights(), other.network.get_weights()):
    np.testing.assert_array_equal(a, b)
print(model.evaluate(images)["normalized_error"], history.history["loss"])
model.inverter().save(sys.argv[2] + "/inverter")
"""


@pytest.mark.slow
def test_jax_trains_as_tensorflow(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    # The weights to start from, as a seed gives other ones on another backend.
    start = tfinvert.InversionModel("hog", 32, network="paper", width=0.125)
    start.compile("adam", "mse", learning_rate=2e-3)
    start.fit(images, batch_size=8, epochs=1, steps_per_epoch=1, verbose=0)
    start.inverter().save(tmp_path / "start")
    run_on_jax("-c", ON_JAX, tmp_path / "images.npy", tmp_path)
    model = tfinvert.InversionModel(init_from=tmp_path / "start")
    losses = ["mse", tfinvert.losses.SSIM()]
    model.compile("adam", losses, learning_rate=2e-3, warmup_steps=2)
    fit(model, images)
    theirs, ours = tfinvert.load(tmp_path / "inverter").reconstruct(images), model.predict(images)
    # Adam moves a weight by its rate also where the gradient is rounding errors.
    off = np.abs(theirs - ours)
    assert off.mean() < 1e-3 and off.max() < 0.05
    assert np.abs(ours - tfinvert.load(tmp_path / "start").reconstruct(images)).mean() > 0.01
