"""recipes/train_inverter.py: the files of a run, resumption, and wrong input."""

import json

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import error_line, run
from tests.recipes.conftest import TRAIN


def test_a_run_leaves_what_reproduces_it(place, trained):
    assert "skipped 1 unreadable of" in trained.stderr and "broken.jpg" in trained.stderr
    assert "decoded images cached: 0.00 GB" in trained.stdout
    assert "1 × CPU" in trained.stdout
    assert "peak memory: " in trained.stdout
    assert {path.name for path in (place / "run").iterdir()} == {
        ".lock",
        "flags.json",
        "checkpoints",
        "summaries",
        "history.jsonl",
        "inverter",
        "metrics.json",
        "report.html",
    }
    assert json.loads((place / "run" / "flags.json").read_text())["steps"] == 4
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert metrics["inverter"]["images"] == 2
    inverter = tfinvert.load(place / "run" / "inverter")
    card = inverter.card
    assert card["data"] == "folder:images"
    assert card["metrics"] == metrics["inverter"]
    assert card["versions"]["tfinvert"] == tfinvert.__version__
    assert card["training_images_per_second"] > 0 and "training_minutes" in card
    assert 0.1 < card["peak_memory_gb"] < 12
    assert card["weights_dtype"] == "float16"
    weights = inverter.network.get_weights()
    assert all((w == w.astype(np.float16)).all() for w in weights)


@pytest.mark.usefixtures("trained")
def test_the_same_command_again_changes_nothing(place):
    before = (place / "run" / "report.html").read_bytes()
    finished = run(*TRAIN, "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "is already complete" in finished.stdout
    assert (place / "run" / "report.html").read_bytes() == before


@pytest.mark.usefixtures("trained")
def test_other_flags_are_refused(place):
    finished = run(*TRAIN, "--workdir=run", "--seed=1", cwd=place)
    line = error_line(finished)
    assert "created with other flags" in line and line.endswith("Received: seed=1 (was 0)")


@pytest.mark.usefixtures("trained")
def test_a_folder_that_grew_is_not_the_same_run(place):
    added = place / "images" / "new.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(added)
    try:
        finished = run(*TRAIN, "--workdir=run", cwd=place)
    finally:
        added.unlink()
    assert "training_images=" in error_line(finished)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image_size=20"], "at least 4×4 cells"),
        (["--alexnet_weights=compact"], "apply only to --feature=alexnet/LAYER. Received: --fea"),
        (["--feature=alexnet/fc6", "--alexnet_variant=bvlc"], "weights are for torchvision, but"),
        (["--train_encoder"], "hog has no weights to train"),
        (["--hidden_units=9"], "no fully connected layers"),
        (["--validation_data=folder:one"], "contains one image; the normalised error needs at"),
    ],
)
def test_wrong_flags_are_one_line_and_leave_no_directory(place, flags, message):
    finished = run(*TRAIN, "--workdir=new", *flags, cwd=place)
    assert message in error_line(finished)
    assert not (place / "new").exists()
