"""The programs as a user starts them: a short training run, its inverter, and wrong input."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.programs import error_line, run
from tfinvert.data.decode import read_rgb

SAMPLER = pathlib.Path(__file__).parents[1] / "compat" / "files" / "sampler" / "inverter"
TRAIN = ("recipes/train_inverter.py", "--feature=hog", "--image_size=32", "--steps=4")
TRAIN += ("--batch_size=8", "--width=0.125", "--log_every=2", "--network=paper")
TRAIN += ("--optimizer=adam", "--weights_dtype=float16", "--data=folder:images")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photographs of all kinds, one of them damaged."""
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
def trained(place):
    """The program's result."""
    finished = run(*TRAIN, "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture(autouse=True)
def run_directory(place, trained):
    return place / "run"


def test_a_run_leaves_what_reproduces_it(place, trained):
    assert "skipped 1 unreadable of" in trained.stderr and "broken.jpg" in trained.stderr
    assert "decoded images cached: 0.00 GB" in trained.stdout
    assert "1 × CPU" in trained.stdout
    assert "peak memory: " in trained.stdout
    assert {path.name for path in (place / "run").iterdir()} == {
        ".lock",
        "flags.json",
        "checkpoints",
        "summaries",
        "history.jsonl",
        "inverter",
        "metrics.json",
        "report.html",
    }
    assert json.loads((place / "run" / "flags.json").read_text())["steps"] == 4
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert metrics["inverter"]["images"] == 2
    inverter = tfinvert.load(place / "run" / "inverter")
    card = inverter.card
    assert card["data"] == "folder:images"
    assert card["metrics"] == metrics["inverter"]
    assert card["versions"]["tfinvert"] == tfinvert.__version__
    assert card["training_images_per_second"] > 0 and "training_minutes" in card
    assert 0.1 < card["peak_memory_gb"] < 12
    assert card["weights_dtype"] == "float16"
    weights = inverter.network.get_weights()
    assert all((w == w.astype(np.float16)).all() for w in weights)


def test_the_same_command_again_changes_nothing(place):
    before = (place / "run" / "report.html").read_bytes()
    finished = run(*TRAIN, "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "is already complete" in finished.stdout
    assert (place / "run" / "report.html").read_bytes() == before


def test_other_flags_are_refused(place):
    finished = run(*TRAIN, "--workdir=run", "--seed=1", cwd=place)
    line = error_line(finished)
    assert "created with other flags" in line and line.endswith("Received: seed=1 (was 0)")


def test_a_folder_that_grew_is_not_the_same_run(place):
    added = place / "images" / "new.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(added)
    try:
        finished = run(*TRAIN, "--workdir=run", cwd=place)
    finally:
        added.unlink()
    assert "training_images=" in error_line(finished)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image_size=20"], "at least 4×4 cells"),
        (["--alexnet_weights=compact"], "apply only to --feature=alexnet/LAYER. Received: --fea"),
        (["--feature=alexnet/fc6", "--alexnet_variant=bvlc"], "weights are for torchvision, but"),
        (["--train_encoder"], "hog has no weights to train"),
        (["--hidden_units=9"], "no fully connected layers"),
        (["--validation_data=folder:one"], "contains one image; the normalised error needs at"),
    ],
)
def test_wrong_flags_are_one_line_and_leave_no_directory(place, flags, message):
    finished = run(*TRAIN, "--workdir=new", *flags, cwd=place)
    assert message in error_line(finished)
    assert not (place / "new").exists()


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


def test_paths_in_the_home_folder_that_are_not_utf8(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    name = os.fsdecode(b"caf\xe9")
    # Without the damaged file: pytest-xdist could not send the warning with its name.
    ignored = shutil.ignore_patterns("broken.jpg")
    shutil.copytree(place / "images", place / name / name, ignore=ignored)
    paths = (f"--data=folder:~/{name}", f"--output=~/{name}/scores", "--inverter=~/run/inverter")
    finished = run("recipes/evaluate.py", *paths, "--split=all", cwd=place)
    assert finished.returncode == 0, finished.stderr
    report = place / name / "scores" / "report.html"
    assert f"report: {report}" in finished.stdout
    assert "caf\\udce9" in report.read_text(encoding="utf-8")
    assert not (place / "~").exists()


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


@pytest.mark.slow
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
