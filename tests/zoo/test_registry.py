"""Versions: of the inverters that ship, and of the package where it names its own."""

import hashlib
import pathlib
import re

import pytest
import yaml

import tfinvert
from tfinvert.zoo.registry import INVERTERS_DIR, version_history

ROOT = pathlib.Path(__file__).parents[2]
VERSIONS = version_history()


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_inverter_has_versions_that_count_from_one():
    assert {path.parent.name for path in INVERTERS_DIR.glob("*/weights.npz")} == VERSIONS.keys()
    for name, own in VERSIONS.items():
        assert [each["version"] for each in own] == [*range(1, len(own) + 1)], name
    digests = [each["sha256"] for own in VERSIONS.values() for each in own]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", VERSIONS)
def test_weights_do_not_change_under_a_version(name):
    digest = hashlib.sha256((INVERTERS_DIR / name / "weights.npz").read_bytes()).hexdigest()
    current = VERSIONS[name][-1]
    assert digest == current["sha256"], (
        f"{name} has other weights than {name}@{current['version']}: add a version to versions.json"
    )


HOG_64 = f"hog-64@{VERSIONS['hog-64'][-1]['version']}"


def test_an_inverter_is_loaded_by_its_version_and_says_it():
    by_version, by_name = tfinvert.load(HOG_64), tfinvert.load("hog-64")
    assert by_version.card == by_name.card
    assert by_name.card["shipped_as"] == HOG_64


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("hog-64@1", "came with tfinvert before 0.1.0, commit 5044271"),
        ("hog-64@99", "never shipped"),
        ("hog-64@", "never shipped"),
        ("hog-64@three", "never shipped"),
        ("hog-64@03", "never shipped"),
    ],
)
def test_another_version_is_refused_in_one_line(asked, known):
    with pytest.raises(tfinvert.InputError) as caught:
        tfinvert.load(asked)
    assert str(caught.value) == (
        f"tfinvert {tfinvert.__version__} ships {HOG_64}. Received: {asked}, which {known}"
    )


def test_a_version_of_what_does_not_ship_is_no_inverter():
    with pytest.raises(tfinvert.InputError, match="no inverter at hogg@1: give a saved"):
        tfinvert.load("hogg@1")


def test_a_saved_inverter_may_be_called_like_a_version(tmp_path, monkeypatch):
    tfinvert.load("hog-64").save(tmp_path / "hog-64@1")
    monkeypatch.chdir(tmp_path)
    assert tfinvert.load("hog-64@1").card["shipped_as"] == HOG_64


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
