"""The programs as a user starts them: a short run, its files, and wrong input."""

import json

import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.programs import call, error_line
from tfinvert.data.decode import read_rgb

TRAIN = (
    "recipes/train_inverter.py",
    "--feature=hog",
    "--steps=4",
    "--batch_size=8",
    "--width=0.125",
    "--log_every=2",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a few photographs of all kinds, one of them broken."""
    place = tmp_path_factory.mktemp("user")
    images = place / "images" / "deep"
    images.mkdir(parents=True)
    photos = {
        "cat.jpg": skimage.data.chelsea(),
        "cup.png": skimage.data.coffee(),
        "face.jpg": skimage.data.astronaut(),
        "grey.png": skimage.data.astronaut()[..., 0],
        "small.jpg": skimage.data.rocket()[:50, :70],
    }
    for name, photo in photos.items():
        Image.fromarray(photo).save(images / name)
    (place / "one").mkdir()
    Image.fromarray(photos["cat.jpg"]).save(place / "one" / "cat.jpg")
    (images / "broken.jpg").write_bytes((images / "cat.jpg").read_bytes()[:2000])
    return place


@pytest.fixture(scope="module")
def run(place):
    finished = call(*TRAIN, "--data=folder:images", "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "skipped 1 unreadable of" in finished.stderr
    assert "broken.jpg" in finished.stderr
    assert "decoded images cached: 0.00 GB" in finished.stdout
    return place / "run"


def test_a_run_leaves_what_reproduces_it(run):
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "flags.json",
        "checkpoints",
        "summaries",
        "history.jsonl",
        "inverter",
        "metrics.json",
        "report.html",
    }
    assert json.loads((run / "flags.json").read_text())["steps"] == 4
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["inverter"]["images"] == 2
    card = tfinvert.load(run / "inverter").card
    assert card["data"] == "folder:images"
    assert card["metrics"] == metrics["inverter"]
    assert card["versions"]["tfinvert"] == tfinvert.__version__


def test_the_same_command_again_changes_nothing(place, run):
    before = (run / "report.html").read_bytes()
    finished = call(*TRAIN, "--data=folder:images", "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "is whole already" in finished.stdout
    assert (run / "report.html").read_bytes() == before


def test_other_flags_are_refused(place, run):
    flags = ("--data=folder:images", "--workdir=run", "--seed=1")
    finished = call(*TRAIN, *flags, cwd=place)
    assert "made with other flags: seed=1 (was 0)" in error_line(finished)


def test_evaluate(place, run):
    command = ("recipes/evaluate.py", "--inverter=run/inverter", "--data=folder:images")
    finished = call(*command, "--output=scores", "--part=all", "--frechet", cwd=place)
    assert finished.returncode == 0, finished.stderr
    scores = json.loads((place / "scores" / "metrics.json").read_text())["inverter"]
    assert scores["frechet_images"] == 5 and scores["frechet_distance"] > 0
    assert scores["images"] == 5
    assert said("normalized_error", finished) == f"{scores['normalized_error']:.4f}"
    assert (place / "scores" / "report.html").exists()
    finished = call(*command, "--image_size=128", "--images=2", cwd=place)
    assert finished.returncode == 0, finished.stderr
    finished = call(*command, "--image_size=100", cwd=place)
    assert "multiples of 8. Received: 100×100" in error_line(finished)
    finished = call(*command, "--samples=2", cwd=place)
    assert "of hog cannot draw samples" in error_line(finished)
    finished = call(*command, cwd=place)  # what it was trained on: only what was held out
    assert "part: validation" in finished.stdout
    trained = json.loads((run / "metrics.json").read_text())["inverter"]["normalized_error"]
    assert said("normalized_error", finished) == f"{trained:.4f}"


def said(metric, finished):
    """The value in the table that a program printed."""
    lines = (line.split() for line in finished.stdout.splitlines())
    return next(line[1] for line in lines if line[:1] == [metric])


def test_reconstruct(place, run):
    command = ("recipes/reconstruct.py", "--inverter=run/inverter")
    files = ("images/deep/cat.jpg", "images/deep/grey.png")
    finished = call(*command, "--output=grid.png,alone/", *files, cwd=place)
    assert finished.returncode == 0, finished.stderr
    grid = read_rgb(place / "grid.png")
    assert grid.shape[0] > 2 * (300 + 512) and grid.shape[1] > 512
    inverter = tfinvert.load(run / "inverter")
    photo = skimage.data.astronaut()[..., :1].repeat(3, -1) / np.float32(255)
    expected = np.rint(inverter.reconstruct(photo[np.newaxis])[0] * 255)
    alone = read_rgb(place / "alone" / "grey.png")
    assert np.abs(alone - expected).max() <= 1  # the whole photograph, at its own size
    assert read_rgb(place / "alone" / "cat.png").shape == skimage.data.chelsea().shape
    before = (place / "grid.png").read_bytes()
    finished = call(*command, "images/deep/broken.jpg", cwd=place)
    assert "images/deep/broken.jpg: truncated or damaged image" in error_line(finished)
    assert (place / "grid.png").read_bytes() == before
    assert [path.name for path in place.glob("*grid.png")] == ["grid.png"]


def test_reconstruct_of_a_layer_cuts_squares(place):
    files = ("images/deep/cat.jpg", "images/deep/grey.png")
    finished = call("recipes/reconstruct.py", "--inverter=alexnet-fc6-64", *files, cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert len(read_rgb(place / "grid.png")) < 5 * 64


def test_reconstruct_draws_samples_below(place):
    flags = ("--inverter=hog-samples-64", "--samples=2", "--seed=3", "--scale=1")
    file = "images/deep/grey.png"
    finished = call("recipes/reconstruct.py", *flags, "--output=drawn.png", file, cwd=place)
    assert finished.returncode == 0, finished.stderr
    rows = read_rgb(place / "drawn.png")[4:-4, -68:-4]
    assert rows.shape == (4 * 64 + 3 * 4, 64, 3)
    inverter = tfinvert.load("hog-samples-64")
    features = inverter.encode(rows[np.newaxis, :64] / np.float32(255))
    for k, sample in enumerate(inverter.sample(features, 2, seed=3)[0], 2):
        difference = rows[68 * k :][:64] - np.rint(sample * 255)
        assert np.abs(difference).mean() < 1  # the picture holds the photograph in 8 bits


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samples=2"], "of hog cannot draw samples: take hog-samples-64 or one"),
        (["--samples=2", "--output=grid.png,out/"], "--samples go into a picture"),
        (["--output=grid.jpg"], "a .png file, a folder, or one of both"),
        (["--output=a.png,b.png"], "a .png file, a folder, or one of both"),
        (["--output=images/deep"], "images/deep/cup.png is one of the photographs"),
        (["--output=out/", "images/cup.jpg"], "two photographs have one name"),
    ],
)
def test_reconstruct_refuses(place, flags, message):
    finished = call("recipes/reconstruct.py", *flags, "images/deep/cup.png", cwd=place)
    assert message in error_line(finished)


def test_analyze(place):
    command = (
        "recipes/analyze.py",
        "--experiment=contrast",
        "--inverters=hog-64",
        "--data=folder:images",
    )
    finished = call(*command, "--workdir=contrast", cwd=place)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((place / "contrast" / "contrast" / "results.json").read_text())
    assert [row["contrast"] for row in results["rows"]] == [1.0, 0.5, 0.25, 0.1]
    assert results["findings"][0] in finished.stdout
    assert results["findings"][0] in (place / "contrast" / "report.html").read_text()
    finished = call(*command, "--workdir=contrast", "--seed=1", cwd=place)
    assert "other flags: seed=1 (was 0)" in error_line(finished)
    finished = call(*command, "--workdir=contrast", cwd=place)
    assert "contrast: done before" in finished.stdout
    finished = call("recipes/claims.py", "--runs=HOG=contrast", "--output=claims.md", cwd=place)
    assert "contrast has no experiment that tests a finding" in error_line(finished)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--experiment=keypoints", "--inverters=hog-64"], "takes inverters of sift"),
        (["--experiment=probabilities", "--inverters=hog-64"], "probabilities"),
        (["--experiment=layers,other"], "takes some of baselines, layers, "),
        (["--experiment=all,layers"], "or all. Received: all"),
        (["--experiment=contrast", "--data=folder:one"], "folder:one has one image"),
        (["--experiment=contrast", "--inverters=nothing"], "no inverter at nothing"),
        (["--experiment=baselines", "--inverters=hog-64,run/inverter2"], "no inverter at run/inv"),
    ],
)
def test_wrong_input_of_analyze(place, flags, message):
    finished = call("recipes/analyze.py", *flags, "--workdir=analysis", cwd=place)
    assert message in error_line(finished)
    assert not (place / "analysis").exists()


def test_wrong_flags_are_one_line_and_leave_no_directory(place):
    flags = ("--network=paper", "--image_size=20")
    finished = call(*TRAIN, "--workdir=new", *flags, cwd=place)
    assert "at least 4×4 cells" in error_line(finished)
    assert not (place / "new").exists()


def test_evaluate_writes_over_nothing(place, run):
    before = (run / "report.html").read_bytes()
    finished = call("recipes/evaluate.py", "--inverter=run/inverter", "--output=run", cwd=place)
    assert "metrics.json exists already" in error_line(finished)
    assert (run / "report.html").read_bytes() == before


def test_help_names_every_flag(place):
    finished = call("recipes/train_inverter.py", "--help", cwd=place)
    for flag in ("--feature", "--data", "--image_size", "--steps", "--strategy", "--workdir"):
        assert flag in finished.stdout
