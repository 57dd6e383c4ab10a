"""Features that installed packages register; the packages are folders on `sys.path`."""

import configparser
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import tfinvert
from tests.programs import ROOT, run
from tests.refusals import refused
from tfinvert import features
from tfinvert.config.registry import COMMANDS, FEATURES
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion

EXAMPLE = ROOT / "docs" / "plugin"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with these entry points on the path, as an installer does."""

    def install(package, entry_points, **modules):
        folder = tmp_path / package
        information = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        information.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        (information / "METADATA").write_text(metadata, encoding="utf-8")
        (information / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(folder)

    return install


@pytest.fixture
def example(install):
    """The package of the document."""
    settings = configparser.ConfigParser()  # the file is also valid for the older format
    settings.read(EXAMPLE / "pyproject.toml", encoding="utf-8")
    points = settings['project.entry-points."tfinvert.features"']
    lines = [f"{name} = {value.strip(chr(34))}" for name, value in points.items()]
    source = (EXAMPLE / "tfinvert_thumbnail.py").read_text(encoding="utf-8")
    install(
        settings["project"]["name"].strip('"'),
        "\n".join(["[tfinvert.features]", *lines]),
        tfinvert_thumbnail=source,
    )


def test_the_example_is_a_feature(example, photos, tmp_path):
    feature = features.get("thumbnail:cell_size=4")
    expected = photos[:2].reshape(2, 16, 4, 16, 4, 3).mean((2, 4))
    np.testing.assert_allclose(feature(photos[:2]), expected, atol=1e-6)
    refused(lambda: features.get("thumbnail:size=4"), "the options are thumbnail:cell_size=8")
    refused(lambda: features.get("thumbnail:cell_size=7"), "multiples of cell_size")
    standardization = Standardization.measure(feature, [feature(photos[:4])])
    network = inversion.build(feature, width=0.1)
    Inverter(feature, standardization, network).save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.encode(photos[:2]), expected, atol=1e-6)


def test_the_document_shows_the_example():
    document = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    (block,) = [part.partition("```")[0] for part in document.split("```text\n")[1:]]
    assert block in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")


def test_names_are_known_without_an_import(example):
    assert "thumbnail" in features.names()
    assert FEATURES.describe("thumbnail") == "from tfinvert-thumbnail 1.0"
    listed = run("tfinvert", "features").stdout
    assert re.search(r"\nthumbnail +from tfinvert-thumbnail 1.0\n", listed)
    helps = {flag.name: flag.help for flag in COMMANDS["train"].list_flags()}
    assert ", thumbnail, " in helps["feature"]
    assert "thumbnail" in run("tfinvert", "completion", "bash").stdout
    assert "tfinvert_thumbnail" not in sys.modules


FAMILY = """
from tfinvert.features import HostFeature

def colors(layer, image_shape=(64, 64, 3)):
    channel = "rgb".index(layer)
    return HostFeature(
        lambda image: image[..., channel:channel + 1], (*image_shape[:2], 1),
        name=f"colors/{layer}", image_shape=image_shape)
"""


def test_a_family(install, photos):
    points = "[tfinvert.feature_families]\ncolors = color_families:colors\n"
    install("color-families", points, color_families=FAMILY)
    assert "colors/LAYER" in features.names()
    np.testing.assert_array_equal(features.get("colors/g")(photos[:2]), photos[:2, ..., 1:2])
    listed = run("tfinvert", "features").stdout
    assert re.search(r"\ncolors/LAYER +from color-families 1.0\n", listed)


@pytest.mark.parametrize(
    ("value", "source", "words"),
    [
        ("broken_plugin:make", "import no_such_module", ["ModuleNotFoundError", "no_such_module"]),
        ("broken_plugin:make", "raise SystemExit(1)", ["SystemExit"]),
        ("broken_plugin:make", "def other(): pass", ["AttributeError"]),
        ("broken_plugin:make", "make = 7", ["neither a function nor a class"]),
        ("broken_plugin:make", "def make(image_shape=()): return 7", ["makes a Feature", "int"]),
        ("no_such_plugin:make", "", ["ModuleNotFoundError"]),
        ("not a reference", "", []),
    ],
)
def test_a_broken_package(install, value, source, words):
    install("broken-plugin", f"[tfinvert.features]\nbroken = {value}\n", broken_plugin=source)
    line = refused(lambda: features.get("broken"), "broken", *words)
    assert "makes a Feature" in line or "of the package broken-plugin 1.0 cannot be loaded" in line
    assert features.get("hog").spec.shape == (8, 8, 31)
    assert run("tfinvert", "features").returncode == 0
    assert COMMANDS["train"].list_flags()


@pytest.mark.parametrize(
    "entry_points",
    ["[tfinvert.features]\nnonsense\n", "nonsense", "[tfinvert.features\n=", "[tfinvert.features]"],
)
def test_damaged_metadata(install, entry_points):
    install("damaged-plugin", entry_points)
    refused(lambda: features.get("nonsense"), "unknown feature 'nonsense'")
    assert run("tfinvert", "features").returncode == 0


def test_names_that_are_taken_or_not_allowed(install):
    points = "[tfinvert.features]\nhog = mine:make\na:b = mine:make\na/b = mine:make\n"
    install("my-hog", points, mine="raise AssertionError\n")
    assert features.get("hog").name == "hog"
    assert not {"a:b", "a/b"} & {*features.names()}


def test_a_name_of_two_packages(install):
    for package in ("one-plugin", "other-plugin"):
        install(package, "[tfinvert.features]\nshared = mine:make\n", mine="")
    words = ["shared is ambiguous", "one-plugin 1.0", "other-plugin 1.0"]
    refused(lambda: features.get("shared"), *words)
    listed = run("tfinvert", "features").stdout
    assert "one-plugin 1.0" in listed and "other-plugin 1.0" in listed


@pytest.mark.slow
def test_the_example_is_built(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    for file in EXAMPLE.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    finished = subprocess.run([*command, "."], cwd=source, capture_output=True, text=True)
    if "No module named pip" in finished.stderr:
        pytest.skip("pip is not installed")
    assert finished.returncode == 0, finished.stderr
    assert [*pathlib.Path(source).glob("tfinvert_thumbnail-1.0-*.whl")]
