"""Inverters by several losses, measured on the same photographs: recipes/tradeoff.py."""

import json

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import call, error_line
from tfinvert import metrics
from tfinvert.data.open_source import open_source
from tfinvert.metrics import frechet
from tfinvert.metrics.evaluation import read_images
from tfinvert.metrics.lpips import lpips
from tfinvert.runs.tradeoff import InverterGroup


@pytest.fixture(scope="module")
def place(tmp_path_factory, inverter):
    place = tmp_path_factory.mktemp("user")
    inverter.save(place / "own")
    return place


def asked(inverters, *flags, **more):
    return call("recipes/tradeoff.py", f"--inverters={inverters}", "--images=6", *flags, **more)


def test_the_table_the_figure_and_the_pictures_are_of_what_was_given(place):
    finished = asked("HOG/squared=hog-64,HOG/none=own", "--output=out", cwd=place)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((place / "out" / "tradeoff.json").read_text())
    assert [*found["HOG"]] == ["squared", "none"]
    photographs = read_images(open_source("photos", "all"), (64, 64), 6)
    rebuilt = tfinvert.load("hog-64").reconstruct(photographs)
    squared = found["HOG"]["squared"]
    assert squared["images"] == squared["frechet_images"] == len(photographs)
    error = metrics.normalized_error(photographs, rebuilt)
    assert squared["normalized_error"] == pytest.approx(error, rel=1e-4)
    assert squared["lpips"] == pytest.approx(lpips(photographs, rebuilt), rel=1e-3)
    distance = frechet.image_set_distance(photographs, rebuilt).distance
    assert squared["frechet_distance"] == pytest.approx(distance, rel=1e-3)
    assert squared["lpips"] < found["HOG"]["none"]["lpips"]
    table = (place / "out" / "tradeoff.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in table] == ["loss", "---", "squared", "none"]
    assert f"| {squared['normalized_error']:.3f} |" in table[2]
    svg = (place / "out" / "tradeoff.svg").read_text()
    assert ">squared<" in svg and ">LPIPS<" in svg
    with Image.open(place / "out" / "pictures.png") as picture:
        assert picture.height > 3 * 128
        assert np.asarray(picture).std() > 20


@pytest.mark.parametrize(
    ("inverters", "message"),
    [
        ("HOG=hog-64", "FEATURE/LOSS=INVERTER. Received: HOG=hog-64"),
        ("HOG/=hog-64", "FEATURE/LOSS=INVERTER"),
        ("HOG/a=hog-64", "HOG takes two inverters or more"),
        ("HOG/a=hog-64,HOG/a=own", "each name once"),
        ("HOG/a=hog-64,HOG/b=none", "no inverter at none"),
        ("HOG/a=hog-64,HOG/b=own", "own exists already"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_directory(place, inverters, message):
    output = "own" if "exists" in message else "new"
    assert message in error_line(asked(inverters, f"--output={output}", cwd=place))
    assert not (place / "new").exists()


def test_what_is_compared_is_one_feature_of_one_size(inverter):
    with pytest.raises(tfinvert.InputError, match=r"one feature of one size. Received: .*lbp \("):
        InverterGroup("HOG", {"a": inverter, "b": tfinvert.load("lbp-64")})
