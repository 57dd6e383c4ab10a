"""The trade-off of losses, evaluated on the same photographs: recipes/tradeoff.py."""

import json

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import error_line, run
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


def compare(inverters, *flags, **options):
    flags = (f"--inverters={inverters}", "--max_images=6", *flags)
    return run("recipes/tradeoff.py", *flags, **options)


@pytest.mark.slow
def test_the_table_the_chart_and_the_pictures_show_the_inverters(place):
    finished = compare("HOG/mse=hog-64,HOG/none=own", "--output=out", cwd=place)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((place / "out" / "tradeoff.json").read_text())
    assert [*found["HOG"]] == ["mse", "none"]
    photographs = read_images(open_source("photos", "all"), (64, 64), 6)
    rebuilt = tfinvert.load("hog-64").reconstruct(photographs)
    mse = found["HOG"]["mse"]
    assert mse["images"] == mse["frechet_images"] == len(photographs)
    error = metrics.normalized_error(photographs, rebuilt)
    assert mse["normalized_error"] == pytest.approx(error, rel=1e-4)
    assert mse["lpips"] == pytest.approx(lpips(photographs, rebuilt), rel=1e-3)
    distance = frechet.image_set_distance(photographs, rebuilt).distance
    assert mse["frechet_distance"] == pytest.approx(distance, rel=1e-3)
    assert mse["lpips"] < found["HOG"]["none"]["lpips"]
    table = (place / "out" / "tradeoff.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in table] == ["loss", "---", "mse", "none"]
    assert f"| {mse['normalized_error']:.3f} |" in table[2]
    svg = (place / "out" / "tradeoff.svg").read_text()
    assert ">mse<" in svg and ">LPIPS<" in svg
    with Image.open(place / "out" / "pictures.png") as picture:
        assert picture.height > 3 * 128
        assert np.asarray(picture).std() > 20


@pytest.mark.parametrize(
    ("inverters", "message"),
    [
        ("HOG=own", "FEATURE/LOSS=INVERTER. Received: HOG=own"),
        ("HOG/=own", "FEATURE/LOSS=INVERTER"),
        ("HOG/a=own", "HOG has one inverter; give at least two"),
        ("HOG/a=own,HOG/a=own", "each name once"),
        ("HOG/a=own,HOG/b=none", "no inverter at none"),
        ("HOG/a=own,HOG/b=own", "own exists already"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_directory(place, inverters, message):
    output = "own" if "exists" in message else "new"
    assert message in error_line(compare(inverters, f"--output={output}", cwd=place))
    assert not (place / "new").exists()


def test_a_group_has_one_feature_and_size(inverter):
    with pytest.raises(
        tfinvert.InputError, match=r"the same feature and image size. Received: .*lbp \("
    ):
        InverterGroup("HOG", {"a": inverter, "b": tfinvert.load("lbp-64")})
