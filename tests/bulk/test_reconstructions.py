"""Bulk reconstruction: files, errors compared with those of `evaluate`, and wrong input."""

import csv
import functools
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import tfinvert
from tests import programs
from tests.programs import call, error_line
from tfinvert import metrics
from tfinvert.bulk.reconstructions import reconstruct
from tfinvert.data.decode import read_rgb
from tfinvert.data.open_source import open_source
from tfinvert.metrics.evaluation import evaluate, read_images
from tfinvert.serving.export import export_savedmodel


@pytest.fixture(scope="module")
def place(tmp_path_factory, inverter, photos):
    """A folder with images, two of them unreadable, and an inverter."""
    place = tmp_path_factory.mktemp("bulk")
    (place / "images" / "deep").mkdir(parents=True)
    for index, photo in enumerate(photos[:12]):
        name = f"deep/{index}.png" if index % 2 else f"{index}.png"
        Image.fromarray(np.round(photo * 255).astype(np.uint8)).save(place / "images" / name)
    (place / "images" / "cut.png").write_bytes((place / "images" / "0.png").read_bytes()[:900])
    (place / "images" / "deep" / "a,b.jpg").write_text("no image")
    inverter.save(place / "inverter")
    return place


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check(output, place, inverter):
    """Compares the output with reconstructions of single images."""
    rows = read_rows(output / "errors.csv")
    names = sorted(
        [f"{i}.png" for i in range(0, 12, 2)] + [f"deep/{i}.png" for i in range(1, 12, 2)]
    )
    assert [row["image"] for row in rows] == names
    for row in rows:
        image = (
            np.asarray(Image.open(place / "images" / row["image"]), np.float32)[np.newaxis] / 255
        )
        rebuilt = inverter.reconstruct(image)
        picture = Image.open(output / "reconstructions" / (row["image"] + ".png"))
        assert np.abs(np.asarray(picture) / 255 - rebuilt[0]).max() <= 0.51 / 255
        distance = np.sqrt(np.square(image - rebuilt).sum())
        np.testing.assert_allclose(float(row["distance"]), distance, rtol=1e-5)
        psnr = -10 * np.log10(np.square(image - rebuilt).mean())
        np.testing.assert_allclose(float(row["psnr_db"]), psnr, rtol=1e-5)
        np.testing.assert_allclose(float(row["ssim"]), metrics.ssim(image, rebuilt), rtol=1e-4)
    broken = read_rows(output / "broken.csv")
    assert [row["image"] for row in broken] == ["cut.png", "deep/a,b.jpg"]
    assert all("image" in row["reason"] for row in broken)
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["images"], summary["broken"]) == (12, 2)
    source = open_source(f"folder:{place / 'images'}")
    expected = evaluate(inverter, read_images(source, (64, 64))).metrics
    for name in ("normalized_error", "psnr_db", "ssim", "mean_pairwise_distance"):
        np.testing.assert_allclose(summary[name], expected[name], rtol=1e-4)
    assert len([*(output / "reconstructions").rglob("*.png")]) == 12
    assert not [*output.rglob(".*")]


@pytest.mark.parametrize("form", ["files:{}/**", pytest.param("folder:{}", marks=pytest.mark.slow)])
def test_rows_and_pictures_equal_those_of_single_images(place, tmp_path, inverter, form):
    reconstruct(str(place / "inverter"), form.format(place / "images"), tmp_path / "out")
    check(tmp_path / "out", place, inverter)


@pytest.mark.slow
def test_an_exported_model_gives_the_same_output(place, tmp_path, inverter):
    model = export_savedmodel(inverter, tmp_path / "exported", endpoints=["serving_default"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("old")
    data = f"folder:{place / 'images'}"
    for _ in range(2):  # a second run overwrites the output
        reconstruct(str(model), data, tmp_path / "out", image_size=64)
        check(tmp_path / "out", place, inverter)
    with pytest.raises(tfinvert.InputError, match="any size; choose one with --image_size"):
        reconstruct(str(model), data, tmp_path / "out")


def test_larger_images(place, tmp_path, inverter):
    data = f"files:{place}/images/*.png"
    summary = reconstruct(str(place / "inverter"), data, tmp_path / "out", image_size=96)
    pictures = [*(tmp_path / "out" / "reconstructions").glob("*.png")]
    assert len(pictures) == summary["images"] == 6
    assert {read_rgb(picture).shape for picture in pictures} == {(96, 96, 3)}
    with pytest.raises(tfinvert.InputError, match="multiples of 8. Received: 100×100"):
        reconstruct(str(place / "inverter"), data, tmp_path / "out", image_size=100)


def test_a_fixed_scale(place, tmp_path):
    data = f"files:{place}/images/*.png"
    summary = reconstruct(str(place / "inverter"), data, tmp_path / "out", scale=10.0)
    assert (summary["images"], summary["broken"], summary["paired_images"]) == (6, 1, 0)
    assert summary["normalized_error"] == pytest.approx(summary["distance"] / 10)
    with pytest.raises(tfinvert.InputError, match="--scale must be a finite number above 0"):
        reconstruct(str(place / "inverter"), data, tmp_path / "out", scale=0.0)


@pytest.mark.slow
def test_images_from_tfds(place, tmp_path, photos, monkeypatch, inverter):
    pixels = np.round(photos[:5] * 255).astype(np.uint8)
    kind = tfds.features.Image(shape=(64, 64, 3), encoding_format="png")
    tfds.dataset_builders.store_as_tfds_dataset(
        "few",
        "1.0.0",
        tfds.features.FeaturesDict({"image": kind}),
        {"train": tf.data.Dataset.from_tensor_slices({"image": pixels})},
        data_dir=tmp_path / "tfds",
        disable_shuffling=True,
    )
    builder = functools.partial(tfds.builder, data_dir=tmp_path / "tfds")
    monkeypatch.setattr(tfds, "builder", builder)
    summary = reconstruct(str(place / "inverter"), "tfds:few", tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "errors.csv")
    assert [row["image"] for row in rows] == [f"{i:08d}" for i in range(5)]
    images = pixels / np.float32(255)
    distances = metrics.per_image_distance(images, inverter.reconstruct(images))
    np.testing.assert_allclose([float(r["distance"]) for r in rows], distances, rtol=1e-5)
    assert summary["images"] == 5


def test_only_unreadable_images(place, tmp_path):
    data = f"files:{place}/images/cut.png"
    summary = reconstruct(str(place / "inverter"), data, tmp_path / "out")
    assert (summary["images"], summary["broken"], summary["normalized_error"]) == (0, 1, None)
    assert read_rows(tmp_path / "out" / "errors.csv") == []


def test_a_model_from_features_is_rejected(place, tmp_path, inverter):
    model = export_savedmodel(inverter, tmp_path / "exported", endpoints=["invert"])
    with pytest.raises(tfinvert.InputError, match="has no endpoint serving_default from images"):
        reconstruct(str(model), f"folder:{place / 'images'}", tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("inverter", "files:{}/none/*.jpg", "files:.*/none/[*].jpg matches no file"),
        ("inverter", "folder:{}/none", "no such folder: "),
        ("inverter", "folder:{}/inverter", "no images in"),
        ("inverter", "photos", "--data must be folder:PATH, files:GLOB or tfds"),
        ("none", "folder:{}/images", "there is no inverter at"),
    ],
)
def test_wrong_input_is_rejected_and_nothing_is_written(place, tmp_path, model, data, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        reconstruct(str(place / model), data.format(place), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


def test_an_output_that_contains_the_images_is_rejected(place):
    with pytest.raises(tfinvert.InputError, match="--output must not contain the images"):
        reconstruct(str(place / "inverter"), f"folder:{place}/images", place / "images")


def test_a_pattern_without_matches_in_the_program(place):
    flags = ("--model=inverter", "--data=files:x/*", "--output=out")
    finished = programs.run("recipes/beam_reconstruct.py", *flags, cwd=place)
    assert error_line(finished) == "error: files:x/* matches no file"


@pytest.mark.slow
def test_through_a_portable_job_server(place, tmp_path, inverter):
    port = tmp_path / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    command = [sys.executable, "-m", module, f"--port_file={port}", f"--staging_dir={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                if port.exists() or server.poll() is not None:
                    break
                time.sleep(0.1)
            finished = call(
                "recipes/beam_reconstruct.py",
                "--model=inverter",
                "--data=folder:images",
                f"--output={tmp_path / 'out'}",
                "--",
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{port.read_text()}",
                "--environment_type=LOOPBACK",
                cwd=place,
            )
        finally:
            server.kill()
    assert finished.returncode == 0, finished.stderr
    check(tmp_path / "out", place, inverter)
