"""The cache that a pipeline fills equals the one that training fills, and training finds it."""

import dataclasses
import json

import numpy as np
import pytest

import tfinvert
from tests import programs
from tests.programs import call, error_line
from tfinvert import features
from tfinvert.bulk.beam_runner import root_cause
from tfinvert.bulk.features import FeatureJob, fill_cache
from tfinvert.data import feature_cache as cache_module
from tfinvert.data.open_source import open_source
from tfinvert.data.photos import load_photograph
from tfinvert.features.host import HostFeature
from tfinvert.reporting.grids import write_png
from tfinvert.training.datasets import CachedTrainingDataset, image_cache_for
from tfinvert.training.settings import Settings

SETTINGS = Settings(steps=1, cached_views=20, min_crop=0.4, shift=2, color_jitter=0.1, seed=3)
CARD = cache_module.CARD_FILE
FLAGS = ("--feature=hog", "--data=photos", "--image_size=32", "--cached_views=1", "--cache=cache")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(cache_module, "MIN_SHARD_VIEWS", 64)


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("coffee", "chelsea", "rocket", "astronaut", "motorcycle_left")):
        write_png(tmp_path / "photos" / f"{index}.png", load_photograph(name))
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return f"folder:{tmp_path / 'photos'}"


def open_as_training(job, folder):
    """Opens the dataset as a training program does."""
    size = (job.image_size, job.image_size)
    source = open_source(job.data, job.split, image_cache_for(job.settings, size))
    feature = features.get(job.feature, image_shape=(*size, 3))
    return CachedTrainingDataset(feature, source, job.settings, folder)


@pytest.mark.parametrize("feature", ["hog", pytest.param("sift", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("small_shards")
def test_training_finds_the_cache_and_would_fill_it_identically(
    folder, tmp_path, feature, monkeypatch
):
    job = FeatureJob(feature, folder, 32, SETTINGS, "all")
    filled = fill_cache(job, tmp_path / "beam")
    made = open_as_training(job, tmp_path / "local").cache
    assert len(filled) == 100 and len(filled.card["shards"]) == 2
    assert filled.path.name == made.path.name
    assert {f.name for f in filled.path.iterdir()} == {
        CARD,
        *(s["file"] for s in filled.card["shards"]),
    }
    for file in made.path.iterdir():
        assert file.read_bytes() == (filled.path / file.name).read_bytes()
    monkeypatch.setattr(CachedTrainingDataset, "compute_views", None)  # nothing is computed
    found = open_as_training(job, tmp_path / "beam")
    views, values = next(found.batches().as_numpy_iterator())
    np.testing.assert_allclose(
        values, features.get(feature, image_shape=(32, 32, 3))(views), atol=1e-5
    )
    assert fill_cache(job, tmp_path / "beam").path == filled.path


@pytest.mark.slow
def test_two_processes_fill_the_cache_that_train_inverter_finds(tmp_path):
    workers = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    filled = call("recipes/beam_features.py", *FLAGS, *workers, cwd=tmp_path)
    assert filled.returncode == 0, filled.stderr
    assert "1024 views cached" in filled.stdout
    (cache,) = (tmp_path / "cache").iterdir()
    assert len(json.loads((cache / CARD).read_text())["shards"]) == 2
    training = ("--steps=2", "--batch_size=4", "--width=0.125", "--network=paper")
    training += ("--optimizer=adam", "--validation_images=4", "--workdir=run")
    trained = call("recipes/train_inverter.py", *FLAGS, *training, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "1024 cached views" in trained.stdout
    assert [*(tmp_path / "cache").iterdir()] == [cache]


def test_a_failed_pipeline_reports_one_line_and_leaves_nothing(tmp_path):
    features.register("nan", lambda image_shape: HostFeature(
        lambda image: np.full(3, np.nan), (3,), name="nan", image_shape=image_shape))  # fmt: skip
    job = FeatureJob("nan", "photos", 32, dataclasses.replace(SETTINGS, cached_views=1))
    with pytest.raises(tfinvert.InputError, match="pipeline failed: .*finite real num") as error:
        fill_cache(job, tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not [*(tmp_path / "cache").iterdir()]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--no_such=1"], "must be flags of Beam. Received: '--no_such=1'"),
        (["a.jpg"], "must be flags of Beam. Received: 'a.jpg'"),
        (["--direct_num_workers=many"], "a flag of Beam is wrong: argument --direct_num_workers"),
    ],
)
def test_wrong_flags_of_beam_are_rejected(tmp_path, flags, message):
    with pytest.raises(tfinvert.InputError, match=message):
        fill_cache(FeatureJob("hog", "photos", 32, SETTINGS), tmp_path / "cache", flags)
    assert not [*tmp_path.iterdir()]


def test_views_to_cache_are_required(tmp_path):
    finished = programs.run(
        "recipes/beam_features.py", "--feature=hog", "--cache=cache", cwd=tmp_path
    )
    assert "cached_views must be at least 1" in error_line(finished)


def test_the_root_cause_in_an_error_report():
    report = """Error processing instruction 7. Original traceback is
Traceback (most recent call last):
  File "a.py", line 3, in process
tfinvert.errors.InputError: x.jpg: not a JPEG

During handling of the above exception, another exception occurred:
tfinvert.errors.InputError: x.jpg: not a JPEG [while running 'Write-ptransform-4']
"""
    assert root_cause(report) == "x.jpg: not a JPEG"
    assert root_cause("ValueError: a b [while running 'X']\n") == "ValueError: a b"
    assert root_cause("Job failed\nmore") == "Job failed"
