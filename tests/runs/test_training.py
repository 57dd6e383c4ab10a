"""Training runs: devices, host features, samplers, caches, and wrong input of every kind."""

import io
import json
import shutil
import struct

import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.training.runs import fewer_statistics_images
from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion
from tfinvert.runs.training import TrainingRun, has_held_out_split, run_training
from tfinvert.training.settings import Settings
from tfinvert.training.train_inverter import Intervals

CONFIG = {"feature": "hog", "data": "photos", "image_size": 64}
SETTINGS = {"steps": 4, "batch_size": 8, "width": 0.125, "network": "paper", "optimizer": "adam"}
INTERVALS = Intervals(log=2, validate=4, checkpoint=4)


@fewer_statistics_images()
def run(workdir, strategy="one", cache=None, **changes):
    config, settings = (
        kind(**{k: v for k, v in (defaults | changes).items() if k in kind.__annotations__})
        for kind, defaults in ((TrainingRun, CONFIG), (Settings, SETTINGS))
    )
    return run_training(config, settings, workdir, strategy, INTERVALS, cache)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"strategy": "mirrored"}, {"feature": "skimage_hog"}])
def test_what_is_saved_is_what_was_measured(tmp_path, capsys, changes):
    made = run(tmp_path / "run", weights_dtype="float16", validation_images=8, **changes)
    inverter = tfinvert.load(made / "inverter")
    assert inverter.card["metrics"]["images"] <= 8
    assert inverter.card["weights_dtype"] == "float16"
    assert "training_minutes" in inverter.card
    printed = capsys.readouterr().out
    assert ("2 × CPU" if "strategy" in changes else "1 × CPU") in printed
    weights = inverter.network.get_weights()
    assert all((w == w.astype(np.float16)).all() for w in weights)
    assert run(tmp_path / "run", weights_dtype="float16", validation_images=8, **changes) == made
    assert "is already complete" in capsys.readouterr().out


@pytest.mark.slow
def test_the_initial_inverter_may_be_gone_when_a_run_is_resumed(tmp_path, photos):
    feature = features.get("hog", image_shape=(64, 64, 3))
    network = inversion.build(feature, width=SETTINGS["width"], network=SETTINGS["network"])
    standardization = Standardization.measure(feature, [feature(photos)])
    Inverter(feature, standardization, network, {}).save(tmp_path / "start")
    changes = {"init_from": str(tmp_path / "start"), "validation_images": 8}
    made = run(tmp_path / "run", **changes)
    metrics = json.loads((made / "metrics.json").read_text())
    (made / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "start")
    run(tmp_path / "run", **changes)
    again = json.loads((made / "metrics.json").read_text())
    assert again["inverter"]["normalized_error"] == metrics["inverter"]["normalized_error"]
    with pytest.raises(tfinvert.InputError, match="no inverter at"):
        run(tmp_path / "new", **changes)


@pytest.mark.slow
@pytest.mark.usefixtures("few_blocks")
def test_training_a_sampler_leaves_the_inverter_as_it_is(tmp_path, capsys):
    changes = {
        "init_from": "hog-64",
        "train_sampler": True,
        "network": "residual",
        "validation_images": 4,
    }
    made = run(tmp_path / "run", weights_dtype="float16", steps=2, **changes)
    inverter, start = tfinvert.load(made / "inverter"), tfinvert.load("hog-64")
    for a, b in zip(inverter.network.get_weights(), start.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    measured = inverter.card["samples_metrics"]
    assert measured["images"] == 4
    assert f"of samples {measured['sample_feature_error']:.3f}" in capsys.readouterr().out
    assert inverter.card["samples_parameters"] == inverter.flow.network.count_params()
    report = (made / "report.html").read_text()
    assert "Random images with the hog feature" in report


@pytest.mark.slow
def test_cached_views_train_as_they_are_and_are_computed_once(tmp_path, capsys):
    changes = {"feature": "sift", "cached_views": 1, "validation_images": 8}
    made = run(tmp_path / "run", cache=tmp_path / "cache", **changes)
    first = capsys.readouterr().out
    assert "1024 views cached" in first
    again = run(tmp_path / "again", cache=tmp_path / "cache", **changes)
    assert "1024 cached views" in capsys.readouterr().out
    histories = [(path / "history.jsonl").read_text() for path in (made, again)]
    first, second = ([json.loads(line)["loss"] for line in text.splitlines()] for text in histories)
    np.testing.assert_allclose(first, second, rtol=1e-4)
    assert tfinvert.load(made / "inverter").card["cached_views"] == 1
    with pytest.raises(tfinvert.InputError, match="require each other"):
        run(tmp_path / "other", **changes)
    with pytest.raises(tfinvert.InputError, match="require each other"):
        run(tmp_path / "other2", cache=tmp_path / "cache")


@pytest.mark.slow
def test_a_folder_that_grew_is_not_the_same_run(tmp_path):
    for index in range(4):
        Image.fromarray(skimage.data.coffee()[: 200 + index]).save(tmp_path / f"{index}.png")
    data = f"folder:{tmp_path}"
    run(tmp_path / "run", data=data, validation_data=data)
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "new.png")
    with pytest.raises(tfinvert.InputError, match=r"training_images=5 \(was 4\)"):
        run(tmp_path / "run", data=data, validation_data=data)


def bomb():
    """A PNG of a few bytes with 100 000 × 100 000 pixels in its header."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature": "hgo"}, "unknown feature 'hgo'; choose one of .*hog"),
        ({"uncertainty": "frozen"}, "--uncertainty=frozen needs an inverter; give --init_from"),
        (
            {"uncertainty": "frozen", "init_from": "hog-64", "loss": "mae"},
            "trains with the negative log-likelihood; leave out --loss. Received: --loss=mae",
        ),
        (
            {"uncertainty": "both"},
            "uncertainty must be one of none, joint, frozen. Received: .both",
        ),
        ({"image_size": 2}, "at least 4×4"),
        ({"image_size": -64}, "image_shape must be"),
        ({"image_size": 20}, "at least 4×4 cells"),
        ({"steps": 0}, "steps must be positive"),
        ({"steps": -3}, "steps must be positive"),
        ({"validation_images": 1}, "validation_images must be at least 2"),
        ({"train_sampler": True}, "--train_sampler needs an inverter; give --init_from=INVERTER"),
        ({"train_sampler": True, "init_from": "hog-64"}, "Received: --network=paper"),
        (
            {
                "train_sampler": True,
                "init_from": "hog-64",
                "network": "residual",
                "image_size": 128,
            },
            "128×128 for an inverter of 64×64",
        ),
        ({"min_crop": 0.0}, r"min_crop must be in \(0, 1\]"),
        ({"color_jitter": 1.5}, r"jitter must be in \[0, 1\]"),
        ({"strategy": "mirrored", "batch_size": 7}, "multiple of the 2 devices"),
        (
            {"batch_size": 8, "accumulation_steps": 3},
            "accumulation_steps must divide .* Received: 3",
        ),
        ({"strategy": "mirrored", "batch_size": 8, "jit": "on"}, "--jit=on supports one device"),
        ({"data": "folder:nowhere"}, "no such folder: nowhere"),
        ({"data": "camera"}, "data must be photos, folder:PATH, tfds:NAME"),
        ({"data": "tfds:no_such_data_set"}, "TFDS data set 'no_such_data_set'"),
        ({"validation_data": "folder:nowhere"}, "no such folder: nowhere"),
        ({"init_from": "nowhere"}, "no inverter at nowhere"),
        ({"init_from": "lbp-64"}, r"the same --feature.* Received: .*lbp .*hog"),
        ({"init_from": "hog-64", "train_encoder": True}, "cannot be combined with --train_encoder"),
        ({"init_from": "hog-64", "width": 0.5}, "the same network.* 1222035 weights"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(tmp_path, changes, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        run(tmp_path / "run", **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("files", [{}, {"a.jpg": b"garbage"}, {"bomb.png": bomb()}])
def test_a_folder_without_a_readable_image(tmp_path, files):
    images = tmp_path / "images"
    images.mkdir()
    for name, data in files.items():
        (images / name).write_bytes(data)
    with pytest.raises(tfinvert.InputError, match="no images in|none of the 1 images"):
        run(tmp_path / "run", data=f"folder:{images}")
    assert not (tmp_path / "run").exists()


def test_one_image_is_too_few_to_validate_on(tmp_path):
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "one.png")
    with pytest.raises(
        tfinvert.InputError, match="contains one image; the normalised error needs at least two"
    ):
        run(tmp_path / "run", validation_data=f"folder:{tmp_path}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_bomb_among_photographs_is_skipped(tmp_path, caplog):
    for index in range(3):
        Image.fromarray(skimage.data.coffee()[:, 50 * index :]).save(tmp_path / f"{index}.jpg")
    (tmp_path / "bomb.png").write_bytes(bomb())
    run(tmp_path / "run", data=f"folder:{tmp_path}")
    assert "bomb.png" in caplog.text


def test_has_held_out_split():
    assert has_held_out_split("folder:a", {"data": "folder:a", "validation_data": None})
    assert not has_held_out_split("folder:a", {"data": "folder:a", "validation_data": "folder:b"})
    assert not has_held_out_split("folder:a", {"data": "folder:b"})
    assert not has_held_out_split("folder:a", {})
