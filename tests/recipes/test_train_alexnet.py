"""Training a classifier: the files of a run, and wrong input of every kind."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests import programs
from tfinvert import features
from tfinvert.data.folder import ImageFolder
from tfinvert.metrics.evaluation import read_images
from tfinvert.networks import weights
from tfinvert.runs.classifier import ClassifierRun, run_classifier_training
from tfinvert.training.train_classifier import ClassifierSettings, top_k_accuracy
from tfinvert.training.train_inverter import Intervals

FLAGS = ("--input_size=63", "--image_size=32", "--hidden_units=16", "--batch_size=8", "--steps=4")
HEAD = ("--data=folder:train", "--validation_data=folder:val", "--weights=trunk.safetensors")
CACHE = ("--cache=cache", "--cached_views=2")


call = functools.partial(programs.run, "recipes/train_alexnet.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory, photos):
    """Tiles of photographs in two classes, and weights of convolutions in float32."""
    place = tmp_path_factory.mktemp("user")
    for name, index in ((part, i) for part in ("train", "val") for i in range(9)):
        folder = place / name / ("day" if index % 2 else "night")
        folder.mkdir(parents=True, exist_ok=True)
        tile = photos[index + 9 * (name == "val")][::2, ::2] * (1 if index % 2 else 0.3)
        Image.fromarray(np.round(255 * tile).astype(np.uint8)).save(folder / f"{index}.png")
    trunk = features.get("alexnet/conv5", image_shape=(32, 32, 3), weights="random", input_size=63)
    layers = {x.name: tuple(x.get_weights()) for x in trunk.model.layers if x.weights}
    facts = {"source": "nowhere", "licence": "none"}
    given = weights.Weights("torchvision", layers, 63, facts)
    weights.save(place / "trunk.safetensors", given, dtype="float32")
    return place


@pytest.fixture(scope="module")
def run(place):
    finished = call(*HEAD, *FLAGS, *CACHE, "--workdir=run", "--validate_every=2", cwd=place)
    assert finished.returncode == 0, finished.stderr
    assert "18 views cached" in finished.stdout
    assert "9 training images and 9 validation images of 2 classes" in finished.stdout
    assert "decoded images cached" not in finished.stdout  # the cache is read in their place
    assert "images/s in training" in finished.stdout
    assert "peak memory" in finished.stdout
    return place / "run"


def test_a_run_leaves_what_reproduces_it(run):
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "flags.json",
        "checkpoints",
        "summaries",
        "history.jsonl",
        "alexnet.safetensors",
        "card.json",
    }
    assert json.loads((run / "flags.json").read_text())["cached_views"] == 2
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history if "validation_top1" in entry] == [2, 4]


def test_the_card_tells_what_was_measured_of_the_saved_weights(place, run):
    card = json.loads((run / "card.json").read_text())
    assert card["classes"] == ["day", "night"]
    assert card["weights_facts"] == {"source": "nowhere", "licence": "none"}
    assert (card["data"], card["steps"], card["seed"]) == ("folder:train", 4, 0)
    fc8 = features.get(
        "alexnet/fc8", image_shape=(32, 32, 3), weights=str(run / "alexnet.safetensors")
    )
    assert card["parameters"] == fc8.model.count_params()
    source = ImageFolder(place / "val")
    scores = top_k_accuracy(
        np.asarray(fc8(read_images(source, (32, 32)))), source.evaluation_labels()
    )
    assert card["metrics"] == {**scores, "images": 9}


def test_the_saved_network_is_a_feature_on_the_convolutions_given(place, run):
    file = run / "alexnet.safetensors"
    fc6 = features.get(f"alexnet/fc6:weights={file}", image_shape=(64, 64, 3))
    assert fc6.spec.shape == (16,)
    saved, trunk = weights.read(file), weights.read(place / "trunk.safetensors")
    assert (saved.variant, saved.input_size, saved.units) == ("torchvision", 63, (16, 16, 2))
    assert saved.facts == {**trunk.facts, "classes": ["day", "night"]}
    for layer, pair in trunk.layers.items():
        for ours, given in zip(saved.layers[layer], pair, strict=True):
            np.testing.assert_array_equal(ours, given.astype(np.float16))


def classify(place, workdir, cache=None, **changes):
    classification = {
        "data": f"folder:{place / 'train'}",
        "validation_data": f"folder:{place / 'val'}",
        "weights": str(place / "trunk.safetensors"),
        "image_size": 32,
        "input_size": 63,
    }
    settings = {"steps": 2, "batch_size": 4, "hidden_units": 16}
    classification, settings = (
        kind(**{k: v for k, v in (given | changes).items() if k in kind.__annotations__})
        for kind, given in ((ClassifierRun, classification), (ClassifierSettings, settings))
    )
    intervals = Intervals(log=1, validate=2, checkpoint=2)
    return run_classifier_training(
        classification, settings, workdir, changes.get("strategy", "one"), intervals, cache
    )


@pytest.mark.slow
def test_all_layers_are_trained_from_a_whole_network(place, run, tmp_path, capsys):
    file = str(run / "alexnet.safetensors")
    made = classify(place, tmp_path / "all", train="all", weights=file, weights_dtype="float32")
    assert "conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8" in capsys.readouterr().out
    before, after = weights.read(file), weights.read(made / "alexnet.safetensors")
    for layer in ("conv1", "fc8"):
        moved = np.abs(after.layers[layer][0] - before.layers[layer][0]).max()
        assert 0 < moved < 0.05
    assert json.loads((made / "card.json").read_text())["train"] == "all"
    again = (made / "card.json").read_bytes()
    classify(place, tmp_path / "all", train="all", weights=file, weights_dtype="float32")
    assert "is already complete" in capsys.readouterr().out
    assert (made / "card.json").read_bytes() == again


@pytest.mark.slow
def test_a_folder_holds_out_its_own_validation_images_and_a_trunk_may_be_random(place, tmp_path):
    made = classify(place, tmp_path / "run", validation_data=None, weights="random")
    card = json.loads((made / "card.json").read_text())
    assert card["metrics"]["images"] == 2
    assert card["training_images"] == 7
    trunk = features.get("alexnet/conv5", image_shape=(32, 32, 3), weights="random", input_size=63)
    saved = weights.read(made / "alexnet.safetensors")
    expected = trunk.model.get_layer("conv3").get_weights()[0].astype(np.float16)
    np.testing.assert_array_equal(saved.layers["conv3"][0], expected)


def test_other_flags_and_other_convolutions_are_not_the_same_run(place, run, tmp_path):
    line = programs.error_line(call(*HEAD, *FLAGS, *CACHE, "--workdir=run", "--seed=1", cwd=place))
    assert line.endswith("Received: seed=1 (was 0)")
    given = weights.read(place / "trunk.safetensors")
    given.layers["conv1"][0][...] *= 2
    weights.save(tmp_path / "other.safetensors", given)
    with pytest.raises(tfinvert.InputError, match="trunk_digest=.*, weights="):
        classify(place, run, weights=str(tmp_path / "other.safetensors"))


def write(path, count=1):
    for index in range(count):
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path / f"{index}.png")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "photos"}, "photos has no classes; a classifier needs"),
        ({"validation_data": "photos"}, "photos has no classes"),
        ({"strategy": "mirrored", "batch_size": 7}, "multiple of the 2 devices. Received: 7"),
        ({"cached_views": 2}, "--cached_views, the number of fixed views per photograph"),
        ({"train": "all", "cached_views": 2}, "only the features of frozen convolutions can be"),
        ({"weights": "nothing"}, "no such AlexNet weights.* Received: 'nothing'"),
        ({"weights": "random", "variant": "vgg"}, "variant must be one of .* Received: 'vgg'"),
        ({"input_size": -1}, "input_size must not be negative"),
        ({"input_size": 20}, "the input of AlexNet is too small"),
        ({"image_size": 0}, "positive sides"),
        ({"min_crop": 2.0}, r"min_crop must be in \(0, 1\]"),
        ({"weights_dtype": "int8"}, "dtype must be float32 or float16. Received: 'int8'"),
    ],
)
def test_wrong_input_ends_before_anything_is_written(place, tmp_path, changes, message):
    with pytest.raises(tfinvert.InputError, match=message) as caught:
        classify(place, tmp_path / "run", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_folders_of_other_classes(place, tmp_path):
    for name in ("a", "b", "c", "d"):
        write(tmp_path / "four" / name)
    write(tmp_path / "one" / "a", 3)
    with pytest.raises(
        tfinvert.InputError, match="the same classes; only one of them has a, b, c and 3 more"
    ):
        classify(place, tmp_path / "run", validation_data=f"folder:{tmp_path / 'four'}")
    with pytest.raises(
        tfinvert.InputError, match="one class; a classifier needs at least two. Received: .*one"
    ):
        classify(place, tmp_path / "run", data=f"folder:{tmp_path / 'one'}")
    assert not (tmp_path / "run").exists()


def test_the_program_ends_with_one_line(place):
    finished = call("--data=photos", "--weights=random", *FLAGS, "--workdir=new", cwd=place)
    assert programs.error_line(finished).startswith("error: photos has no classes")
    assert not (place / "new").exists()
