"""The quick start from training to the served reconstruction, with fewer steps."""

import importlib
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

import tfinvert
from tests import programs
from tfinvert.serving import client

ROOT = pathlib.Path(__file__).parents[2]
RUN = ROOT / "tests" / "compat" / "files"


def check(run, output):
    assert str(run / "report.html") in output
    model = tf.saved_model.load(run / "savedmodel" / "hog" / "1")
    photo = (run / "photograph.png").read_bytes()
    served = model.signatures["reconstruct_bytes"](image_bytes=tf.constant([photo]))
    rebuilt = np.asarray(Image.open(run / "reconstruction.png"))
    np.testing.assert_array_equal(tf.io.decode_png(served["png_bytes"][0]), rebuilt)
    assert tfinvert.load(run / "inverter").any_size
    assert rebuilt.shape == tf.io.decode_png(photo).shape


@pytest.mark.slow
def test_everything_it_promises_is_there(tmp_path):
    finished = subprocess.run(
        [sys.executable, ROOT / "recipes" / "quickstart.py", "--steps=4", "--workdir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert finished.returncode == 0, finished.stderr
    run = tmp_path / "run"
    assert "data:image/png;base64," in (run / "report.html").read_text()
    assert json.loads((run / "metrics.json").read_text())["inverter"]["images"] > 10
    check(run, finished.stdout)


@pytest.mark.slow
def test_a_trained_inverter_is_exported_and_served(tmp_path, monkeypatch, capsys):
    before = {*flags.FLAGS}
    quickstart = importlib.import_module("quickstart")
    asked = []

    def run_training(config, settings, workdir, intervals):
        """Leaves an inverter that was trained before."""
        asked.extend([config, settings, intervals])
        shutil.copytree(RUN / "start", pathlib.Path(workdir) / "inverter")
        return pathlib.Path(workdir)

    def run_client(command):
        """Runs the client in this process, which has TensorFlow."""
        assert command[:2] == [sys.executable, client.__file__]
        return programs.run(pathlib.Path(command[1]).relative_to(ROOT), *command[2:])

    monkeypatch.setattr(quickstart, "run_training", run_training)
    monkeypatch.setattr(quickstart.subprocess, "run", run_client)
    flags.FLAGS(["quickstart", f"--workdir={tmp_path / 'run'}", "--steps=7"])
    try:
        quickstart.main()
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
    config, settings, intervals = asked
    assert (config.feature, config.data, config.image_size) == ("hog", "photos", 192)
    assert settings.steps == 7 and settings.ema_decay == 0.99 and intervals.log == 25
    check(tmp_path / "run", capsys.readouterr().out)
