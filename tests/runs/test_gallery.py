"""The gallery of a short run."""

import dataclasses
import functools
import re

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tfinvert.analysis import interpolate, units
from tfinvert.analysis.experiment import Experiment
from tfinvert.analysis.experiments import color
from tfinvert.analysis.result import Claim
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.exhibits import EXHIBITS
from tfinvert.runs.gallery import write_gallery

FINDING = "Between two images' features, all is well."
SHOWN = ["color", "interpolate", "interpolate", "units"]  # interpolate has two pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos, inverter):
    """Three of the experiments, as short as they can be."""

    def between(inverters, images):
        result = interpolate.interpolate(inverters, images, steps=2, pairs=2)
        return dataclasses.replace(result, claims=[Claim(FINDING, "", "", True)])

    asked = {
        "units": (functools.partial(units.units, shown=2), "hog"),
        "color": (functools.partial(color.color, angles=2), "mine"),
        "interpolate": (between, "mine"),
    }
    experiments = {
        name: (Experiment(ask, []), {label: inverter}) for name, (ask, label) in asked.items()
    }
    workdir = tmp_path_factory.mktemp("user") / "runs" / "small"
    facts = {"data": "photos", "gradient_images": None, "seed": 0}
    run_experiments(workdir, experiments, photos[::9], {}, facts)
    return workdir


@pytest.fixture(scope="module")
def page(run):
    return write_gallery({"AlexNet": run}, run.parents[1] / "gallery")


def pictures(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^!\[.+\]\((\S+\.webp)\)$", text, re.MULTILINE)


def test_what_there_is_comes_in_order_with_its_pictures(page):
    text = page.read_text(encoding="utf-8")
    shown = [exhibit for exhibit in EXHIBITS if f"### {exhibit.heading}\n\n{exhibit.text}" in text]
    assert [exhibit.experiment for exhibit in shown] == ["color", "interpolate", "units"]
    assert re.findall(r"^Experiment `(\w+)`", text, re.MULTILINE) == list(dict.fromkeys(SHOWN))
    assert len(pictures(page)) == len(SHOWN)
    there = (page.parent / "gallery").iterdir()
    assert {f"gallery/{path.name}" for path in there} == set(pictures(page))


def test_pictures_are_the_experiments_made_small(page, run):
    name = "one-photograph-with-its-hue-turned"
    with Image.open(page.parent / "gallery" / f"{name}.webp") as opened:
        assert opened.format == "WEBP"
        small = np.asarray(opened.convert("RGB"), np.float32)
    (original,) = run.glob(f"color/*-{name}.png")
    with Image.open(original) as opened:
        expected = opened.convert("RGB").resize(small.shape[1::-1])
    assert np.abs(small - np.asarray(expected)).mean() < 15  # noise, at that quality


def test_what_makes_the_run_again_is_said(page):
    text = page.read_text(encoding="utf-8").replace(" \\\n   ", "")
    flags = "--data=photos --seed=0 --workdir=small"
    command = "python recipes/analyze.py --experiment"
    assert f"{command}=color,interpolate --inverters=mine/inverter {flags}\n" in text
    assert f"{command}=units --inverters=hog {flags}\n" in text
    assert "python recipes/gallery.py --runs=AlexNet=small --output=gallery\n" in text


def test_the_page_of_claims_is_linked_where_it_is(run, tmp_path):
    page = write_gallery({"A": run}, tmp_path / "gallery")
    assert f"in the page of `recipes/claims.py`: “{FINDING}”\n" in page.read_text(encoding="utf-8")
    (tmp_path / "claims.md").touch()
    write_gallery({"A": run}, tmp_path / "gallery")
    assert f"in [claims.md](claims.md): “{FINDING}”\n" in page.read_text(encoding="utf-8")


def test_two_runs_have_their_own_pictures(run, tmp_path):
    page = write_gallery({"One": run, "Two & 3": run}, tmp_path / "both")
    text = page.read_text(encoding="utf-8")
    assert "## Two & 3\n" in text
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"one", "two-3"}
    assert "--runs=One=small,'Two & 3=small'" in text


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"data": "folder:val"}, "anybody may publish: of runs with --data=photos. Received"),
        ({"data": "photos"}, "has no experiment that the gallery shows"),
    ],
)
def test_wrong_input(tmp_path, facts, message, photos):
    run_experiments(tmp_path / "run", {}, photos[:2], {}, facts)
    with pytest.raises(tfinvert.InputError, match=message):
        write_gallery({"A": tmp_path / "run"}, tmp_path / "gallery")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
