"""The quick start, from the pretrained inverters to the served reconstruction and the page."""

import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfinvert
from tests import programs
from tfinvert.runs import demo
from tfinvert.runs.training import TrainingRun
from tfinvert.serving import client
from tfinvert.training.settings import Intervals, Settings
from tfinvert.training.summaries import SummaryWriter

ROOT = pathlib.Path(__file__).parents[2]
TRAINED = ROOT / "tests" / "compat" / "files" / "finished"
CHAPTERS = [
    "Pretrained inverters",
    "An inverter of {}, trained from scratch",
    "Export and serving",
    "Next steps",
    "Details",
]


def check_page(page, feature, pretrained, samples=3):
    """Checks that everything is on the page, once."""
    text = page.read_text("utf-8")
    headings = re.findall("<h2>(.*)</h2>", text)
    assert headings == [heading.format(feature) for heading in CHAPTERS]
    labels = re.findall("<span>(.*)</span>", text)
    expected = ["photograph", *pretrained, "photograph", "reconstruction"]
    expected += [f"sample {i + 1}" for i in range(samples)]
    expected += ["photograph", "difference", "predicted deviation"]
    expected += ["photograph", "before training"]
    assert labels[: len(expected)] == expected
    *snapshots, request, response = labels[len(expected) :]
    assert snapshots and all(re.fullmatch(r"after step [\d,]+", x) for x in snapshots)
    assert (request, response) == ("photograph", "reconstruction")
    assert text.count("<svg") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)


@pytest.mark.slow
def test_everything_it_promises_is_there(tmp_path):
    command = [sys.executable, ROOT / "recipes" / "quickstart.py", "--steps=60"]
    arguments = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 900}
    finished = subprocess.run(command, **arguments)
    assert finished.returncode == 0, finished.stderr
    run = tmp_path / "runs" / "demo"
    page = run / "demo.html"
    assert finished.stdout.splitlines()[-1] == str(page)
    check_page(page, "alexnet/conv1", demo.PRETRAINED)
    errors = [
        entry["validation_error"]
        for entry in map(json.loads, (run / "training" / "history.jsonl").read_text().splitlines())
        if "validation_error" in entry
    ]
    assert errors[-1] < errors[0] < 2
    assert tfinvert.load(run / "training" / "inverter").feature.name == "alexnet/conv1"
    model = tf.saved_model.load(run / "savedmodel" / "alexnet-conv1" / "1")
    photo = (run / "photograph.png").read_bytes()
    served = model.signatures["reconstruct_bytes"](image_bytes=tf.constant([photo]))
    rebuilt = np.asarray(Image.open(run / "reconstruction.png"))
    np.testing.assert_array_equal(tf.io.decode_png(served["png_bytes"][0]), rebuilt)


class Pretrained:
    """Stands for a pretrained inverter: the images that it returns are mosaics."""

    def encode(self, images):
        return images[:, ::8, ::8]

    def invert(self, features):
        return np.repeat(np.repeat(features, 8, 1), 8, 2)

    def uncertainty(self, features):
        return self.invert(features)

    def sample(self, features, n):
        return np.stack([self.invert(features)] * n, 1)


def test_interrupted_demo_is_resumed(tmp_path, monkeypatch, capsys):
    """What takes long is replaced; the test above runs all of it."""
    loaded, runs = [], []

    def load(path):
        loaded.append(str(path))
        return tfinvert.load(path) if pathlib.Path(path).exists() else Pretrained()

    def run_training(config, settings, workdir, intervals):
        runs.append(workdir)
        if len(runs) == 1:
            raise tfinvert.errors.Interrupted("stopped", signal.SIGINT)
        shutil.copytree(TRAINED, workdir)
        images = np.random.default_rng(0).random((8, 32, 32, 3), np.float32)
        for step in range(1, 9):
            SummaryWriter(workdir / "summaries", images, (32, 32)).write_images(images, step)
        return workdir

    def export_savedmodel(inverter, path):
        (path / "1").mkdir(parents=True)

    def run_client(command, **options):
        assert command[:2] == [sys.executable, client.__file__]
        assert pathlib.Path(command[2]).is_dir()
        with Image.open(command[3]) as photograph:
            photograph.save(command[4])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(demo, "SIZE", (32, 32))
    monkeypatch.setattr(demo, "load", load)
    monkeypatch.setattr(demo, "run_training", run_training)
    monkeypatch.setattr(
        demo, "export_savedmodel", lambda inverter, path: (path / "1").mkdir(parents=True)
    )
    monkeypatch.setattr(demo.subprocess, "run", run_client)
    config = TrainingRun(feature="hog", data="photos", image_size=32)
    settings = Settings(steps=8, width=0.125, network="paper")
    arguments = config, settings, Intervals(), tmp_path / "run"
    with pytest.raises(tfinvert.errors.Interrupted):
        demo.run_demo(*arguments)
    before = len(loaded)
    page = demo.run_demo(*arguments)
    assert loaded[before:] == [str(tmp_path / "run" / "training" / "inverter")]
    check_page(page, "hog", demo.PRETRAINED)
    capsys.readouterr()
    assert demo.run_demo(*arguments) == page
    assert capsys.readouterr().out == f"{tmp_path / 'run'} is already complete\n"
    assert len(runs) == 2
    with pytest.raises(tfinvert.InputError, match="other flags.*steps"):
        demo.run_demo(config, dataclasses.replace(settings, steps=9), *arguments[2:])


@pytest.mark.parametrize(
    ("arguments", "workdir", "feature", "steps"),
    [
        (["--steps=7"], "runs/demo", "alexnet/conv1", 7),
        (["--long", "--workdir=mine"], "mine", "hog", 1500),
        (["--long"], "runs/demo-train", "hog", 1500),
    ],
)
def test_recipe_prints_the_page_last(tmp_path, monkeypatch, arguments, workdir, feature, steps):
    def run_demo(config, settings, intervals, workdir):
        assert (config.feature, config.data, settings.steps) == (feature, "photos", steps)
        return pathlib.Path(workdir) / "demo.html"

    monkeypatch.setattr(demo, "run_demo", run_demo)
    finished = programs.run("recipes/quickstart.py", *arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == str(tmp_path / workdir / "demo.html")
