"""The quick start end to end, with fewer steps."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

import tfinvert

ROOT = pathlib.Path(__file__).parents[2]


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
    assert str(run / "report.html") in finished.stdout
    assert "data:image/png;base64," in (run / "report.html").read_text()
    assert json.loads((run / "metrics.json").read_text())["inverter"]["images"] > 10

    model = tf.saved_model.load(run / "savedmodel" / "hog" / "1")
    photo = (run / "photograph.png").read_bytes()
    served = model.signatures["reconstruct_bytes"](image_bytes=tf.constant([photo]))
    rebuilt = np.asarray(Image.open(run / "reconstruction.png"))
    np.testing.assert_array_equal(tf.io.decode_png(served["png_bytes"][0]), rebuilt)
    assert tfinvert.load(run / "inverter").any_size
    assert rebuilt.shape == tf.io.decode_png(photo).shape
