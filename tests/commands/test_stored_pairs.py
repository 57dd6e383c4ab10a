"""Stored features from the command line: training, evaluation, analyses, export, wrong input."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.documents import blocks_in, shell_commands
from tests.programs import error_line, run
from tests.refusals import refused
from tests.training.runs import Interrupted, interrupting, wrapped_steps
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.config.stored_pairs import PairsConfig
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.serving.client import Client
from tfinvert.training import train_inverter
from tfinvert.training.settings import Intervals, Settings

FLAGS = ("--pairs=embeddings.parquet", "--data=folder:photos", "--image_size=16", "--steps=4")
FLAGS += ("--batch_size=8", "--width=0.125", "--network=paper", "--optimizer=adam")
FLAGS += ("--hidden_units=32", "--log_every=2")


def embed(image):
    """The embedding of these tests: 4×4 mean colours of the whole photograph."""
    return np.asarray(image.resize((4, 4)), np.float32).ravel() / 255


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the photographs and their embeddings."""
    place = tmp_path_factory.mktemp("user")
    (place / "photos" / "more").mkdir(parents=True)
    rows = {}
    for i in range(30):
        picture = (skimage.data.chelsea(), skimage.data.coffee())[i % 2]
        image = Image.fromarray(picture[7 * i :, 9 * i :][: 60 + i, : 90 - i])
        name = f"{'more/' * (i % 3 == 0)}{i:02}.png"
        image.save(place / "photos" / name)
        rows[name] = embed(image)
    table = pd.DataFrame.from_dict(rows, "index", columns=[f"feature_{i}" for i in range(48)])
    table = table.rename_axis("filename").reset_index()
    table.to_parquet(place / "embeddings.parquet")
    return place


@pytest.fixture
def table(place):
    """The embeddings."""
    return pd.read_parquet(place / "embeddings.parquet")


@pytest.fixture(scope="module")
def trained(place):
    finished = run("tfinvert", "train", *FLAGS, "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    return finished


def test_a_run_leaves_an_inverter_of_stored_features(place, trained, table):
    assert "28 training images per epoch, 2 validation images" in trained.stdout
    assert "decoded images cached" in trained.stdout
    flags = json.loads((place / "run" / "flags.json").read_text())
    assert flags["feature"] == "stored/48" and flags["pairs"] == "embeddings.parquet"
    assert re.fullmatch("[0-9a-f]{64}", flags["pairs_digest"])
    inverter = tfinvert.load(place / "run" / "inverter")
    assert inverter.card["pairs_digest"] == flags["pairs_digest"]
    features = table.drop(columns="filename").to_numpy(np.float32)
    images = inverter.invert(features[:3])
    assert images.shape == (3, 16, 16, 3)
    np.testing.assert_allclose(
        inverter.standardization.mean, features.mean(0), atol=0.05
    )  # of the training photographs
    assert "from stored features" in (place / "run" / "report.html").read_text()
    refused(lambda: inverter.reconstruct(images), "stored/48 was computed elsewhere")


def test_a_finished_run_is_complete_and_another_file_is_another_run(place, trained, table):
    again = ("tfinvert", "train", *FLAGS, "--workdir=run")
    assert "is already complete" in run(*again, cwd=place).stdout
    before = (place / "embeddings.parquet").read_bytes()
    try:
        table.assign(feature_3=0.5).to_parquet(place / "embeddings.parquet")
        assert "pairs_digest=" in error_line(run(*again, cwd=place))
    finally:
        (place / "embeddings.parquet").write_bytes(before)


def test_evaluate_takes_the_pairs(place, trained):
    arguments = ("evaluate", "--inverter=run/inverter", "--data=folder:photos")
    finished = run("tfinvert", *arguments, "--pairs=embeddings.parquet", cwd=place)
    assert finished.returncode == 0, finished.stderr
    metrics = json.loads((place / "run" / "metrics.json").read_text())["inverter"]
    for name in ("normalized_error", "psnr_db", "ssim"):
        assert f"{name:32s} {metrics[name]:.4f}" in finished.stdout
    assert "give the features of the photographs with --pairs" in error_line(
        run("tfinvert", *arguments, cwd=place)
    )
    line = error_line(run("tfinvert", *arguments[::2], "--inverter=hog", "--pairs=x", cwd=place))
    assert "--pairs is for inverters that were trained with --pairs" in line


def test_export_serves_the_endpoint_from_features(place, trained, table):
    arguments = ("tfinvert", "export", "--inverter=run/inverter", "--output=models/pairs")
    assert "--endpoints=invert" in error_line(run(*arguments, cwd=place))
    assert not (place / "models").exists()
    finished = run(*arguments, "--endpoints=invert", cwd=place)
    assert finished.returncode == 0, finished.stderr
    features = table.drop(columns="filename").to_numpy(np.float32)[:2]
    served = Client(place / "models" / "pairs" / "1").invert(features)
    expected = tfinvert.load(place / "run" / "inverter").invert(features)
    np.testing.assert_allclose(served, expected, atol=1e-5)


ANALYZE = ("analyze", "--data=folder:photos")


@pytest.mark.slow
@pytest.mark.parametrize("names", ["interpolate,layers,privacy,uncertainty,units", "baselines"])
def test_experiments_on_photographs_take_the_pairs(place, names):
    _, inverter = train(place, "uncertain", uncertainty="joint")
    assert inverter.uncertainty(np.zeros(48, np.float32)).shape == (32, 32, 3)
    arguments = (*ANALYZE, "--inverters=uncertain/inverter", f"--experiment={names}")
    arguments += ("--pairs=embeddings.parquet", f"--workdir=analyses-{names}")
    finished = run("tfinvert", *arguments, cwd=place)
    assert finished.returncode == 0, finished.stderr
    for name in names.split(","):
        assert (place / f"analyses-{names}" / name / "results.json").exists()


def test_other_experiments_say_why_they_do_not_work(place, trained):
    inverter = tfinvert.load(place / "run" / "inverter")
    refusing = [name for name in EXPERIMENTS if not EXPERIMENTS[name].accepts("mine", inverter)]
    assert {"color", "contrast", "invariance", "iterate", "position", "sample"} <= {*refusing}
    assert not {"baselines", "interpolate", "layers", "units"} & {*refusing}
    for name in refusing:
        refused(lambda name=name: EXPERIMENTS[name].check_inverter("mine", inverter))
    arguments = (*ANALYZE, "--inverters=run/inverter", "--workdir=new")
    flags = ("--experiment=contrast", "--pairs=embeddings.parquet")
    line = error_line(run("tfinvert", *arguments, *flags, cwd=place))
    assert "features of changed photographs" in line
    line = error_line(run("tfinvert", *arguments, "--experiment=units", cwd=place))
    assert "with --pairs=FILE" in line
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--min_crop=0.5", "--shift=2"), ("--pairs has", "--min_crop=0.5 --shift=2")),
        (("--color_jitter=0.1",), ("omit these flags", "--color_jitter=0.1")),
        (("--cache=x", "--cached_views=2"), ("--cached_views=2 --cache=x",)),
        (("--train_encoder",), ("--train_encoder=True",)),
        (("--train_sampler", "--init_from=x"), ("--train_sampler computes",)),
        (("--feature=hog",), ("has the feature stored/48; omit --feature", "--feature=hog")),
        (("--pairs_shape=4,4,4",), ("do not have the 64 numbers", "48 numbers")),
        (("--pairs_shape=4x4",), ("--pairs_shape must be", "'4x4'")),
        (("--pairs=none.parquet",), ("no file of features", "none.parquet")),
        (("--pairs=photos/01.png",), ("must be in a file that ends in .parquet",)),
        (("--data=photos",), ("--data=folder:PATH",)),
        (("--pairs_min_share=2",), ("--pairs_min_share must be in [0, 1]",)),
        (("--validation_data=folder:photos",), ("--validation_pairs", "give both or neither")),
        (("--pairs=", "--pairs_match=order", "--feature=hog"), ("need --pairs=FILE",)),
        (("--pairs=", "--feature=stored/48"), ("give its values with --pairs=FILE",)),
        (("--pairs=",), ("give --feature=NAME, or --pairs=FILE",)),
    ],
)
def test_wrong_flags_are_one_line_and_leave_nothing(place, flags, words):
    line = error_line(run("tfinvert", "train", *FLAGS, *flags, "--workdir=new", cwd=place))
    assert all(word in line for word in words), line
    assert not (place / "new").exists()


def test_a_wrong_file_is_one_line_and_leaves_nothing(place, table):
    table.assign(feature_7=table["feature_7"].where(table.index != 17)).to_csv(place / "wrong.csv")
    arguments = ("train", *FLAGS, "--pairs=wrong.csv", "--workdir=new")
    line = error_line(run("tfinvert", *arguments, cwd=place))
    assert "wrong.csv must have finite numbers" in line
    assert f"number 7 of row 17 ({table['filename'][17]}) is nan" in line
    table[:20].to_csv(place / "wrong.csv")
    line = error_line(run("tfinvert", *arguments, cwd=place))
    assert "10 of 30 photographs of photos have no row" in line
    assert not (place / "new").exists()


SETTINGS = {"batch_size": 8, "width": 0.125, "network": "paper", "optimizer": "adam"}
SETTINGS |= {"hidden_units": 32, "ema_decay": 0.9, "warmup_steps": 2}


def train(place, name, steps=6, strategy="one", wrap_step=None, shape=None, **settings):
    """Trains from Python; returns the losses and the inverter."""
    pairs = PairsConfig(str(place / "embeddings.parquet"), shape)
    config = TrainingRun(None, f"folder:{place / 'photos'}", 32, pairs=pairs)
    arguments = (config, Settings(steps, **SETTINGS | settings), place / name, strategy)
    with wrapped_steps(train_inverter, wrap_step or (lambda step, state: step)):
        made = run_training(*arguments, Intervals(log=1, validate=steps, checkpoint=2))
    entries = [json.loads(x) for x in (made / "history.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries], tfinvert.load(made / "inverter")


@pytest.fixture(scope="module")
def unbroken(place):
    return train(place, "unbroken")


def assert_equal(one, other):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    for a, b in zip(one[1].network.get_weights(), other[1].network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_unbroken_one(place, unbroken):
    with pytest.raises(Interrupted):
        train(place, "interrupted", wrap_step=interrupting(3))
    assert_equal(train(place, "interrupted"), unbroken)


@pytest.mark.slow
def test_two_devices_train_what_one_does(place, unbroken):
    assert_equal(train(place, "mirrored", strategy="mirrored"), unbroken)


@pytest.mark.slow
def test_flat_rows_are_grids(place):
    _, inverter = train(place, "grid", steps=2, shape=(4, 4, 3), hidden_units=0)
    assert inverter.feature.name == "stored/4x4x3"
    assert inverter.invert(np.zeros((2, 4, 4, 3), np.float32)).shape == (2, 32, 32, 3)


@pytest.mark.slow
def test_the_network_learns_from_the_pairs(place, table):
    loss, inverter = train(place, "learns", steps=200)
    assert np.mean(loss[-10:]) < 0.5 * np.mean(loss[:5])
    features = table.drop(columns="filename").to_numpy(np.float32)
    images = inverter.invert(features)
    shrunk = images.reshape(30, 4, 8, 4, 8, 3).mean((2, 4)).reshape(30, -1)
    own = np.abs(shrunk - features).mean()
    assert own < 0.6 * np.abs(shrunk - features[::-1]).mean()


@pytest.mark.slow
def test_commands_of_the_document_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [x for x in blocks_in("python") if x.document == "docs/pairs.md"]
    exec(compile(blocks[0].text, "block", "exec"), {})
    shell = [x.text for x in blocks_in("shell") if x.document == "docs/pairs.md"]
    for number, text in enumerate(shell):
        (tmp_path / f"parsed-{number}").mkdir()
        for _, *arguments in shell_commands(text, tmp_path / f"parsed-{number}"):
            reduced = {"train": ["--steps=4"], "analyze": ["--max_images=16"]}.get(arguments[0], [])
            finished = run("tfinvert", *arguments, *reduced, cwd=tmp_path)
            assert finished.returncode == 0, finished.stderr
    exec(compile(blocks[1].text, "block", "exec"), {})
