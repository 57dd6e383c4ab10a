"""The programs as a user starts them on an inverter: their files and wrong input."""

import json
import pathlib

import numpy as np
import pytest
import skimage.data

import tfinvert
from tests.programs import error_line, run
from tfinvert.data.decode import read_rgb

SAMPLER = pathlib.Path(__file__).parents[1] / "compat" / "files" / "sampler" / "inverter"


@pytest.fixture(autouse=True)
def run_directory(place, trained):
    return place / "run"


def test_evaluate(place, run_directory):
    command = ("recipes/evaluate.py", "--inverter=run/inverter", "--data=folder:images")
    flags = ("--output=scores", "--split=all", "--frechet", "--image_size=64", "--max_images=5")
    finished = run(*command, *flags, cwd=place)
    assert finished.returncode == 0, finished.stderr
    scores = json.loads((place / "scores" / "metrics.json").read_text())["inverter"]
    assert scores["frechet_images"] == 5 and scores["frechet_distance"] > 0
    assert scores["images"] == 5
    assert printed("normalized_error", finished) == f"{scores['normalized_error']:.4f}"
    assert (place / "scores" / "report.html").exists()
    finished = run(*command, "--image_size=100", cwd=place)
    assert "multiples of 8. Received: 100×100" in error_line(finished)
    finished = run(*command, "--num_samples=2", cwd=place)
    assert "hog inverter cannot sample images" in error_line(finished)
    finished = run(*command, cwd=place)  # on its training data: only the held-out images
    assert "split: validation" in finished.stdout
    metrics = json.loads((run_directory / "metrics.json").read_text())
    trained = metrics["inverter"]["normalized_error"]
    assert printed("normalized_error", finished) == f"{trained:.4f}"


def printed(metric, finished):
    """The value in the table that a program printed."""
    lines = (line.split() for line in finished.stdout.splitlines())
    return next(line[1] for line in lines if line[:1] == [metric])


def test_evaluate_overwrites_nothing(place, run_directory):
    before = (run_directory / "report.html").read_bytes()
    finished = run("recipes/evaluate.py", "--inverter=run/inverter", "--output=run", cwd=place)
    assert "metrics.json exists already; give another --output" in error_line(finished)
    assert (run_directory / "report.html").read_bytes() == before


def test_reconstruct(place, run_directory):
    command = ("recipes/reconstruct.py", "--inverter=run/inverter")
    files = ("images/deep/cat.jpg", "images/deep/grey.png")
    finished = run(*command, "--output=grid.png,alone/", *files, cwd=place)
    assert finished.returncode == 0, finished.stderr
    grid = read_rgb(place / "grid.png")
    assert grid.shape[0] > 2 * (300 + 512) and grid.shape[1] > 512
    inverter = tfinvert.load(run_directory / "inverter")
    photo = skimage.data.astronaut()[..., :1].repeat(3, -1) / np.float32(255)
    expected = np.rint(inverter.reconstruct(photo[np.newaxis])[0] * 255)
    alone = read_rgb(place / "alone" / "grey.png")
    assert np.abs(alone - expected).max() <= 1  # the whole photograph, at its own size
    assert read_rgb(place / "alone" / "cat.png").shape == skimage.data.chelsea().shape
    before = (place / "grid.png").read_bytes()
    finished = run(*command, "images/deep/broken.jpg", cwd=place)
    assert "images/deep/broken.jpg: truncated or damaged image" in error_line(finished)
    assert (place / "grid.png").read_bytes() == before
    assert [path.name for path in place.glob("*grid.png")] == ["grid.png"]


def test_reconstruct_of_a_layer_crops_squares(place):
    files = ("images/deep/cat.jpg", "images/deep/grey.png")
    flags = ("--inverter=alexnet-fc6-64", "--output=layer.png")
    finished = run("recipes/reconstruct.py", *flags, *files, cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert len(read_rgb(place / "layer.png")) < 5 * 64


@pytest.mark.parametrize(
    "name", [str(SAMPLER), pytest.param("hog-samples-64", marks=pytest.mark.slow)]
)
def test_reconstruct_shows_samples_below(place, name):
    flags = (f"--inverter={name}", "--num_samples=2", "--seed=3", "--scale=1")
    file = "images/deep/grey.png"
    finished = run("recipes/reconstruct.py", *flags, "--output=drawn.png", file, cwd=place)
    assert finished.returncode == 0, finished.stderr
    inverter = tfinvert.load(name)
    side = inverter.feature.image_shape[0]
    rows = read_rgb(place / "drawn.png")[4:-4, -4 - side : -4]
    assert rows.shape == (4 * side + 3 * 4, side, 3)
    features = inverter.encode(rows[np.newaxis, :side] / np.float32(255))
    for k, sample in enumerate(inverter.sample(features, 2, seed=3)[0], 2):
        difference = rows[(side + 4) * k :][:side] - np.rint(sample * 255)
        assert np.abs(difference).mean() < 1  # the picture has the photograph in 8 bits


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_samples=2"], "hog inverter cannot sample images; use hog-samples-64 or"),
        (["--num_samples=2", "--output=grid.png,out/"], "--num_samples needs a grid"),
        (["--output=grid.jpg"], "a .png file, a folder, or one of each"),
        (["--output=a.png,b.png"], "a .png file, a folder, or one of each"),
        (["--output=images/deep"], "would be overwritten; give another --output. Received: --outp"),
        (["--output=out/", "images/cup.jpg"], "would be written to the same file"),
    ],
)
def test_reconstruct_refuses(place, flags, message):
    finished = run("recipes/reconstruct.py", *flags, "images/deep/cup.png", cwd=place)
    assert message in error_line(finished)


def test_analyze(place):
    command = (
        "recipes/analyze.py",
        "--experiment=contrast",
        "--inverters=hog-64",
        "--data=folder:images",
    )
    finished = run(*command, "--workdir=contrast", cwd=place)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((place / "contrast" / "contrast" / "results.json").read_text())
    assert [row["contrast"] for row in results["rows"]] == [1.0, 0.5, 0.25, 0.1]
    assert results["findings"][0] in finished.stdout
    assert results["findings"][0] in (place / "contrast" / "report.html").read_text()
    finished = run(*command, "--workdir=contrast", "--seed=1", cwd=place)
    assert "Received: seed=1 (was 0)" in error_line(finished)
    before = (place / "contrast" / "contrast" / "results.json").read_bytes()
    finished = run(*command, "--workdir=contrast", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert (place / "contrast" / "contrast" / "results.json").read_bytes() == before
    finished = run("recipes/claims.py", "--runs=HOG=contrast", "--output=claims.md", cwd=place)
    assert "contrast" in error_line(finished)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--experiment=keypoints", "--inverters=hog-64"], "sift"),
        (["--experiment=probabilities", "--inverters=hog-64"], "probabilities"),
        (["--experiment=layers,other"], "takes one or more of baselines, layers, "),
        (["--experiment=all,layers"], "or all. Received: all"),
        (["--experiment=contrast", "--data=folder:one"], "folder:one"),
        (["--experiment=contrast", "--inverters=nothing"], "no inverter at nothing"),
        (["--experiment=baselines", "--inverters=hog-64,run/inverter2"], "no inverter at run/inv"),
        (["--experiment=layers", "--inverters=run/inverter,./run/inverter"], "the label 'run'"),
    ],
)
def test_wrong_input_of_analyze(place, flags, message):
    finished = run("recipes/analyze.py", *flags, "--workdir=analysis", cwd=place)
    assert message in error_line(finished)
    assert not (place / "analysis").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runs=layers", "--output=c.md"], "takes NAME=DIRECTORY"),
        (["--runs=A=nothing", "--output=c.md"], "flags.json is missing. Received: nothing"),
    ],
)
@pytest.mark.parametrize("program", ["claims", "gallery"])
def test_wrong_input_of_pages(place, program, flags, message):
    assert message in error_line(run(f"recipes/{program}.py", *flags, cwd=place))
    assert not (place / "c.md").exists()
