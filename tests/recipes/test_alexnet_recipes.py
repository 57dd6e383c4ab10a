"""The programs on layers of the shipped AlexNet: training, analysis, and pages of results."""

import json

import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.programs import run

pytestmark = pytest.mark.slow

TRAIN = (
    "recipes/train_inverter.py",
    "--data=folder:images",
    "--steps=4",
    "--batch_size=2",
    "--width=0.0625",
    "--log_every=2",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("user")
    (place / "images").mkdir()
    for name in ("chelsea", "coffee", "astronaut", "rocket"):
        Image.fromarray(getattr(skimage.data, name)()).save(place / "images" / f"{name}.png")
    return place


@pytest.fixture(scope="module")
def runs(place):
    """fc6 from cached features, and an autoencoder of conv2."""
    cached = ("--cache=cache", "--cached_views=2", "--hidden_units=8", "--alexnet_weights=compact")
    finished = run(*TRAIN, "--feature=alexnet/fc6", *cached, "--workdir=fc6", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "views cached" in finished.stdout
    assert "images/s in training" in finished.stdout
    assert "peak memory: " in finished.stdout
    trained = ("--feature=alexnet/conv2", "--train_encoder", "--workdir=auto")
    finished = run(*TRAIN, *trained, cwd=place)
    assert finished.returncode == 0, finished.stderr
    return place


def test_layers_of_shipped_inverters_and_own_runs(runs):
    finished = run(
        "recipes/analyze.py",
        "--experiment=layers",
        "--max_images=8",
        "--inverters=auto/inverter,alexnet-conv5-64,fc6/inverter",
        "--gradient_images=2",
        "--gradient_steps=2",
        "--workdir=layers",
        cwd=runs,
    )
    assert finished.returncode == 0, finished.stderr
    rows = json.loads((runs / "layers" / "layers" / "results.json").read_text())["rows"]
    assert [(row["layer"], row["method"], row["inverter"]) for row in rows] == [
        ("conv2", "autoencoder", "auto"),
        ("conv5", "inversion network", "alexnet-conv5-64"),
        ("conv5", "gradient-based inversion", "alexnet-conv5-64"),
        ("fc6", "inversion network", "fc6"),
        ("fc6", "gradient-based inversion", "fc6"),
        ("none", "mean image", ""),
    ]
    assert "Error by layer" in (runs / "layers" / "report.html").read_text()
    for kind in ("svg", "png"):
        assert (runs / "layers" / "layers" / f"01-error-by-layer.{kind}").stat().st_size > 1000
    finished = run("recipes/claims.py", "--runs=AlexNet=layers", "--output=claims.md", cwd=runs)
    assert finished.returncode == 0, finished.stderr
    page = (runs / "claims.md").read_text()
    assert "## AlexNet" in page and "| layers | The error grows with depth. |" in page
    finished = run("recipes/gallery.py", "--runs=AlexNet=layers", "--output=gallery", cwd=runs)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[0] == "gallery.md"
    page = (runs / "gallery.md").read_text()
    assert "--inverters=auto/inverter,alexnet-conv5-64,fc6/inverter" in page
    assert page.count("![Down the layers: ") == len([*(runs / "gallery").iterdir()]) == 3


def test_the_card_names_the_weights_and_the_speed(runs):
    card = tfinvert.load(runs / "fc6" / "inverter").card
    assert card["feature"] == "alexnet/fc6:weights=compact"
    assert card["training_images_per_second"] > 0
    assert 0.1 < card["peak_memory_gb"] < 12
