"""Shipped inverters and their versions, and the version of the package in its documents."""

import hashlib
import json
import pathlib
import re

import pytest
import yaml

import tfinvert
from tfinvert.networks import alexnet
from tfinvert.zoo.registry import CARD_FILE, INVERTERS_DIR, list_inverters, version_history

ROOT = pathlib.Path(__file__).parents[2]
VERSIONS = version_history()


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_versions_of_an_inverter_count_from_one():
    assert {path.parent.name for path in INVERTERS_DIR.glob("*/weights.npz")} == VERSIONS.keys()
    for name, own in VERSIONS.items():
        assert [each["version"] for each in own] == [*range(1, len(own) + 1)], name
    digests = [each["sha256"] for own in VERSIONS.values() for each in own]
    assert len(set(digests)) == len(digests)


def test_weights_do_not_change_under_a_version():
    for name, versions in VERSIONS.items():
        digest = hashlib.sha256((INVERTERS_DIR / name / "weights.npz").read_bytes()).hexdigest()
        assert digest == versions[-1]["sha256"], (
            f"{name} has other weights than {name}@{versions[-1]['version']}: add a version to "
            "versions.json"
        )


HOG_64 = f"hog-64@{VERSIONS['hog-64'][-1]['version']}"


def test_an_inverter_loads_by_its_version():
    by_version, by_name = tfinvert.load(HOG_64), tfinvert.load("hog-64")
    assert by_version.card == by_name.card
    assert by_name.card["shipped_as"] == HOG_64


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("hog-64@1", "shipped with tfinvert before 0.1.0, commit 5044271"),
        ("hog-64@99", "never shipped"),
        ("hog-64@", "never shipped"),
        ("hog-64@three", "never shipped"),
        ("hog-64@03", "never shipped"),
    ],
)
def test_another_version_is_rejected(name, status):
    with pytest.raises(tfinvert.InputError) as caught:
        tfinvert.load(name)
    assert str(caught.value) == (
        f"tfinvert {tfinvert.__version__} ships {HOG_64}; use this version. Received: {name}, "
        f"which {status}"
    )


def test_a_version_of_an_unknown_name_is_not_an_inverter():
    with pytest.raises(tfinvert.InputError, match="there is no inverter at hogg@1; give the dir"):
        tfinvert.load("hogg@1")


def test_a_saved_inverter_may_be_named_like_a_version(tmp_path, monkeypatch):
    tfinvert.load("hog-64").save(tmp_path / "hog-64@1")
    monkeypatch.chdir(tmp_path)
    assert tfinvert.load("hog-64@1").card["shipped_as"] == HOG_64


# Bytes at most, for one inverter and for one that samples.
MAX_BYTES, MAX_BYTES_SAMPLING = 8_000_000, 16_000_000


def test_cards_of_shipped_inverters_are_small_and_complete():
    for entry in list_inverters():
        max_bytes = MAX_BYTES_SAMPLING if entry.supports_sampling else MAX_BYTES
        assert entry.size_bytes <= max_bytes, entry.name
        card = json.loads((INVERTERS_DIR / entry.name / CARD_FILE).read_text(encoding="utf-8"))
        assert {"data", "steps", "seed", "versions", "metrics"} <= card["made"].keys(), entry.name
        assert entry.normalized_error < 0.7, entry.name


@pytest.mark.parametrize(
    "name",
    [
        "hog-64",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in tfinvert.shipped()
            if name != "hog-64"
        ),
    ],
)
def test_the_registry_agrees_with_the_loaded_inverter(name):
    inverter = tfinvert.load(name)
    (entry,) = (entry for entry in list_inverters() if entry.name == name)
    assert entry.any_size == inverter.any_size
    assert entry.supports_sampling == bool(inverter.flow)
    assert entry.predicts_uncertainty == bool(inverter.uncertainty_head)
    assert (entry.height, entry.width, 3) == inverter.feature.image_shape
    assert entry.feature == inverter.feature.name
    assert entry.normalized_error == inverter.card["metrics"]["normalized_error"]


def test_json_has_new_and_old_keys():
    (entry,) = (entry for entry in list_inverters() if entry.name == "hog-samples-64")
    values = entry.to_json()
    assert values["supports_sampling"] is values["draws"] is True
    assert values["predicts_uncertainty"] == values["tells"]
    assert values["versioned"] == values["versioned_name"] == entry.versioned_name
    assert {"bytes", "error", "images", "measured_on", "trained_on"} <= values.keys()


def test_any_size_thumbnails_and_every_layer_of_alexnet_are_shipped():
    handcrafted = {f"{name}{size}" for name in ("hog", "lbp", "sift") for size in ("", "-64")}
    layers = {f"alexnet-{layer}-64" for layer in alexnet.PAPER_LAYERS}
    large = {f"alexnet-conv{i}" for i in range(1, 6)}
    other_losses = {"hog-perceptual", "hog-adversarial", "alexnet-conv5-perceptual"}
    sampling = {"hog-samples-64"}
    assert {*tfinvert.shipped()} == handcrafted | layers | large | other_losses | sampling


def test_the_compact_alexnet_is_small_and_has_a_card():
    folder = ROOT / "tfinvert" / "networks" / "weights" / "files"
    weights = folder / "alexnet-compact.safetensors"
    inverters = INVERTERS_DIR.glob("alexnet-*/*")
    assert sum(file.stat().st_size for file in (weights, *inverters)) <= 67_000_000
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {"conv1 … conv5", "fc6 … fc8", "licence", "measured"} <= card.keys()
    assert card["measured"]["top1"] >= 0.45
    assert len(card["classes"]) == 200


def test_the_changelog_and_the_citation_are_of_this_version():
    releases = re.findall(r"(?m)^## \[(.+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"))
    assert releases[0][0] == tfinvert.__version__
    assert [date for _, date in releases] == sorted((date for _, date in releases), reverse=True)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert (citation["version"], citation["date-released"]) == releases[0]


def test_the_citation_has_what_its_format_requires_and_names_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert all("name" in each or "family-names" in each for each in citation["authors"])
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert paper["title"] in " ".join(read("README.md").split())
    assert {each["family-names"] for each in paper["authors"]} == {"Dosovitskiy", "Brox"}
