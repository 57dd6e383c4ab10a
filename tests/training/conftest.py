"""Runs with HOG on the embedded photographs, and with the smallest possible state."""

import pytest

from tests.training.runs import (
    EVERY_STEP,
    SETTINGS,
    Outcome,
    fewer_statistics_images,
    train_tiny,
    wrapped_steps,
)
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import alexnet, inversion, weights
from tfinvert.networks.weights import Weights
from tfinvert.training import strategies, train_inverter
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.summaries import SummaryWriter


@pytest.fixture(scope="session")
def source():
    return open_source("photos", "training")


@pytest.fixture(scope="session")
def small_photos(photos):
    """Some of the tiles at half their size, `[n, 32, 32, 3]`."""
    return photos[::4, ::2, ::2]


@pytest.fixture(scope="session")
def hog():
    return features.get("hog", image_shape=(32, 32, 3))


@pytest.fixture(scope="session")
def small_inverter(hog, small_photos):
    """An untrained inverter with the network of the runs."""
    standardization = Standardization.measure(hog, [hog(small_photos)])
    network = inversion.build(hog, width=SETTINGS.width, network=SETTINGS.network)
    return Inverter(hog, standardization, network)


@pytest.fixture(scope="session")
def small_alexnet(tmp_path_factory):
    """The file of a small random AlexNet."""
    model = alexnet.build("torchvision", input_size=63, units=(16, 12, 5))
    layers = {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    weights.save(path, Weights("torchvision", layers, 63))
    return path


@pytest.fixture(scope="session")
def small_layer(small_alexnet):
    """Returns a layer of the small AlexNet as a feature."""
    return lambda name: features.get(
        f"alexnet/{name}:weights={small_alexnet}", image_shape=(32, 32, 3)
    )


@pytest.fixture(scope="session")
def train_in(hog, source, small_photos):
    """Trains in a directory; returns inverter and history."""

    @fewer_statistics_images()
    def run(
        workdir,
        settings=SETTINGS,
        *,
        feature=hog,
        validation=small_photos,
        strategy="one",
        intervals=EVERY_STEP,
        init_from=None,
    ):
        workdir.mkdir(exist_ok=True)
        devices = strategies.make_strategy(strategy)
        dataset = TrainingDataset(feature, source, settings)
        return train_inverter.train_inverter(
            feature, dataset, validation, settings, workdir, devices, intervals, init_from
        )[:2]

    return run


@pytest.fixture
def train(train_in, tmp_path):
    """Trains in a directory of the test."""

    def run(*arguments, name="run", **options):
        return train_in(tmp_path / name, *arguments, **options)

    return run


def to_outcome(workdir, inverter, history):
    standardization = inverter.standardization
    statistics = [standardization.mean, standardization.scale]
    return Outcome(workdir, inverter.network.get_weights(), statistics, [*history], inverter)


@pytest.fixture(scope="session")
def train_hog(train_in):
    """As `train_tiny`, with a real network."""

    def run(workdir, intervals=EVERY_STEP, wrap_step=None, on_validate=None, **options):
        write_images = SummaryWriter.write_images

        def writing(self, reconstructions, step):
            if on_validate:
                on_validate(step)
            write_images(self, reconstructions, step)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SummaryWriter, "write_images", writing)
            with wrapped_steps(train_inverter, wrap_step or (lambda step, _: step)):
                inverter, history = train_in(workdir, intervals=intervals, **options)
        return to_outcome(workdir, inverter, history)

    return run


@pytest.fixture(scope="session")
def unbroken_hog(train_hog, tmp_path_factory):
    """An uninterrupted run with a real network."""
    return train_hog(tmp_path_factory.mktemp("hog") / "run")


@pytest.fixture(scope="module", params=["tiny", pytest.param("hog", marks=pytest.mark.slow)])
def run_in(request):
    """Trains in a directory: the smallest state and, in the tier `slow`, a real network."""
    return train_tiny if request.param == "tiny" else request.getfixturevalue("train_hog")


@pytest.fixture(scope="module")
def unbroken(run_in, request, tmp_path_factory):
    """An uninterrupted run."""
    if run_in is not train_tiny:
        return request.getfixturevalue("unbroken_hog")
    return run_in(tmp_path_factory.mktemp("unbroken") / "run")


@pytest.fixture
def run(run_in, tmp_path):
    """Trains in a directory of the test."""

    def train(**options):
        return run_in(tmp_path / "run", **options)

    return train
