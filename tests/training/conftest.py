"""Runs of HOG on the embedded photographs."""

import pytest

from tests.training.runs import EVERY_STEP, SETTINGS, Unbroken, few_measured
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.training import strategies
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.train_inverter import train_inverter


@pytest.fixture(scope="session")
def hog():
    return features.get("hog", image_shape=(64, 64, 3))


@pytest.fixture(scope="session")
def train_in(hog, photos):
    source = open_source("photos", "training")

    @few_measured()
    def run(
        workdir,
        settings=SETTINGS,
        *,
        feature=hog,
        validation=photos,
        strategy="one",
        pace=EVERY_STEP,
        start=None,
    ):
        workdir.mkdir(exist_ok=True)
        chosen = strategies.make_strategy(strategy)
        examples = TrainingDataset(feature, source, settings)
        return train_inverter(
            feature, examples, validation, settings, workdir, chosen, pace, start
        )[:2]

    return run


@pytest.fixture
def train(train_in, tmp_path):
    def run(*arguments, name="run", **more):
        return train_in(tmp_path / name, *arguments, **more)

    return run


@pytest.fixture(scope="session")
def unbroken(train_in, tmp_path_factory):
    return Unbroken(train_in, tmp_path_factory.mktemp("unbroken") / "run")
