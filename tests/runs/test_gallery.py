"""The gallery of a short run."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.analysis.stubs import echo, stub_inverter
from tfinvert.analysis.experiment import Claim, Result
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.reporting.image_rows import image_rows
from tfinvert.runs.gallery import exhibits_in_order, write_gallery
from tfinvert.runs.results import save_result

FINDING = "Between two images' features, all is well."
SHOWN = ["color", "interpolate", "interpolate", "units"]  # interpolate has two pictures


def save_run(workdir, photos, facts):
    """A run of three experiments: one real, two with the figures that the gallery shows."""
    workdir.mkdir(parents=True)
    (workdir / "flags.json").write_text(json.dumps(facts))
    color = EXPERIMENTS["color"].run({"mine": stub_inverter(echo)}, photos[::9], {"angles": 2})
    save_result(workdir / "color", color, inverters={"mine": ""})
    for name, titles, label, claims in (
        ("units", ["Single units", "Another"], "hog", []),
        (
            "interpolate",
            [f"From one photograph to another, pair {i}" for i in range(3)],
            "mine",
            [Claim(FINDING, "", "", True)],
        ),
    ):
        figures = [image_rows({"a": photos[:2]}, title=x, caption="Same.") for x in titles]
        save_result(workdir / name, Result("", "", [], [], figures, claims), inverters={label: ""})
    return workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos):
    workdir = tmp_path_factory.mktemp("user") / "runs" / "small"
    return save_run(workdir, photos, {"data": "photos", "gradient_images": None, "seed": 0})


@pytest.fixture(scope="module")
def page(run):
    return write_gallery({"AlexNet": run}, run.parents[1] / "gallery")


def pictures(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^!\[.+\]\((\S+\.webp)\)$", text, re.MULTILINE)


def test_sections_come_in_order_with_their_pictures(page):
    text = page.read_text(encoding="utf-8")
    shown = [x for x in exhibits_in_order() if f"### {x[1].heading}\n\n{x[1].text}" in text]
    assert [name for name, _ in shown] == ["color", "interpolate", "units"]
    assert re.findall(r"^Experiment `(\w+)`", text, re.MULTILINE) == list(dict.fromkeys(SHOWN))
    assert len(pictures(page)) == len(SHOWN)
    there = (page.parent / "gallery").iterdir()
    assert {f"gallery/{path.name}" for path in there} == set(pictures(page))
    assert text.count("*Same.*") == 2  # once for the pair of pictures, once for the units


def test_pictures_are_reduced_figures(page, run):
    name = "one-photograph-with-its-hue-turned"
    with Image.open(page.parent / "gallery" / f"{name}.webp") as opened:
        assert opened.format == "WEBP"
        small = np.asarray(opened.convert("RGB"), np.float32)
    (original,) = run.glob(f"color/*-{name}.png")
    with Image.open(original) as opened:
        expected = opened.convert("RGB").resize(small.shape[1::-1])
    assert np.abs(small - np.asarray(expected)).mean() < 15  # noise, at that quality


def test_the_page_has_the_commands_that_reproduce_the_run(page):
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
    ("data", "message"),
    [
        ("folder:val", "may be published; run the experiments with --data=photos. Received"),
        ("photos", "the gallery takes runs with one of its experiments"),
    ],
)
def test_unsuitable_runs_are_refused(tmp_path, data, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flags.json").write_text(json.dumps({"data": data}))
    with pytest.raises(tfinvert.InputError, match=message):
        write_gallery({"A": tmp_path / "run"}, tmp_path / "gallery")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
