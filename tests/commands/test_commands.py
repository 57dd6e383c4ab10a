"""The commands, which leave the same files as the programs of the same name."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.programs import ROOT, error_line, run

INVERTER = ROOT / "tests" / "compat" / "files" / "start"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("user")
    Image.fromarray(skimage.data.chelsea()[::3, ::3]).save(place / "cat.png")
    return place


@pytest.mark.slow
def test_reconstruct_is_the_recipe(place):
    arguments = (f"--inverter={INVERTER}", "cat.png")
    finished = run("tfinvert", "reconstruct", *arguments, "--output=a.png", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "1 reconstructions at " in finished.stdout
    assert "peak memory: " in finished.stdout
    recipe = run("recipes/reconstruct.py", *arguments, "--output=b.png", cwd=place)
    assert recipe.returncode == 0, recipe.stderr
    np.testing.assert_array_equal(*(np.asarray(Image.open(place / f"{x}.png")) for x in "ab"))


@pytest.mark.slow
def test_export_names_the_check_that_follows(place):
    flags = ("--output=models/small", "--endpoints=invert")
    finished = run("tfinvert", "export", f"--inverter={INVERTER}", *flags, cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "tfinvert serve-check --model=models/small/1" in finished.stdout
    finished = run("tfinvert", "serve-check", "--model=models/small/1", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "models/small/1: can be served" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--feature=hog", "--network=paper", "--image_size=20"], "at least 4×4 cells"),
        (["analyze", "--experiment=other"], "takes one or more of baselines, layers, "),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(place, arguments, message):
    assert message in error_line(run("tfinvert", *arguments, "--workdir=new", cwd=place))
    assert not (place / "new").exists()
