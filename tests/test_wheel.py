"""A wheel holds all that `tfinvert.load` needs."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import tfinvert
from tfinvert.networks import alexnet
from tfinvert.zoo.registry import list_inverters

ROOT = pathlib.Path(__file__).parents[1]
OFFLINE = ("--no-deps", "--no-build-isolation")
SHIPPED = 8_000_000  # bytes at most, for one inverter
DRAWING = 16_000_000  # for one with a network that draws beside its own
WHEEL = 104_000_000  # likewise, for the whole: PyPI takes 100 MiB

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, skimage.data, skimage.transform, tfinvert
assert tfinvert.__file__.startswith(sys.argv[1]), tfinvert.__file__
photo = skimage.transform.resize(skimage.data.coffee()[:, 100:500], (64, 64), anti_aliasing=True)
rebuilt = tfinvert.load("hog-64").reconstruct(photo[None])
np.save(sys.argv[2], np.stack([photo, rebuilt[0]]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package in an otherwise empty folder, installed from a wheel of a copy of the tree."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = place / "source"  # a build folder inside the tree would be part of the next build
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tfinvert"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    subprocess.run([*pip, "wheel", *OFFLINE, "-w", place, source], check=True, cwd=place)
    (wheel,) = place.glob("tfinvert-*.whl")
    assert wheel.stat().st_size <= WHEEL
    target = place / "target"
    subprocess.run([*pip, "install", *OFFLINE, "--target", target, wheel], check=True, cwd=place)
    return target


def test_the_wheel_reconstructs_a_photograph_outside_of_the_checkout(installed, tmp_path):
    output = tmp_path / "images.npy"
    subprocess.run([sys.executable, "-c", PROGRAM, installed, output], check=True, cwd=tmp_path)
    photo, rebuilt = np.load(output)
    assert rebuilt.shape == (64, 64, 3)
    assert np.sqrt(np.mean((photo - rebuilt) ** 2)) < 0.8 * photo.std()


def test_the_wheel_holds_no_tests_or_recipes(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"tfinvert", "bin"}


def test_the_wheel_brings_the_command(installed, tmp_path):
    finished = subprocess.run(
        [installed / "bin" / "tfinvert", "list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f"\n  {name}@" in finished.stdout for name in tfinvert.shipped())


@pytest.mark.parametrize("name", tfinvert.shipped())
def test_shipped_inverters_are_small_and_say_what_made_them(name):
    files = (ROOT / "tfinvert" / "inverters" / name).iterdir()
    inverter = tfinvert.load(name)
    most = DRAWING if inverter.flow else SHIPPED
    assert sum(file.stat().st_size for file in files) <= most
    (entry,) = (entry for entry in list_inverters() if entry.name == name)
    assert entry.any_size == inverter.any_size
    assert entry.supports_sampling == bool(inverter.flow)
    assert entry.predicts_uncertainty == bool(inverter.uncertainty_head)
    assert (entry.height, entry.width, 3) == inverter.feature.image_shape
    assert entry.feature == inverter.feature.name
    card = inverter.card
    assert {"data", "steps", "seed", "versions", "metrics"} <= card.keys()
    assert card["metrics"]["normalized_error"] < 0.7


def test_any_size_thumbnails_and_every_layer_of_alexnet_are_shipped():
    handcrafted = {f"{name}{size}" for name in ("hog", "lbp", "sift") for size in ("", "-64")}
    layers = {f"alexnet-{layer}-64" for layer in alexnet.PAPER_LAYERS}
    large = {f"alexnet-conv{i}" for i in range(1, 6)}
    other_losses = {"hog-perceptual", "hog-adversarial", "alexnet-conv5-perceptual"}
    drawing = {"hog-samples-64"}
    every = handcrafted | layers | large | other_losses | drawing
    assert every == {*tfinvert.shipped()}


def test_the_compact_alexnet_is_small_and_says_where_it_is_from():
    folder = ROOT / "tfinvert" / "networks" / "weights" / "files"
    weights = folder / "alexnet-compact.safetensors"
    inverters = (ROOT / "tfinvert" / "inverters").glob("alexnet-*/*")
    assert sum(file.stat().st_size for file in (weights, *inverters)) <= 67_000_000
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {"conv1 … conv5", "fc6 … fc8", "licence", "measured"} <= card.keys()
    assert card["measured"]["top1"] >= 0.45
    assert len(card["classes"]) == 200
