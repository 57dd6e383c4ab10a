"""Python functions as features: by name from a file, and in a program."""

import functools
import json
import pickle
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import error_line, run
from tests.refusals import refused
from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion

SOURCE = '''"""Mean colours of the cells of an image."""

import numpy as np


def cells(image):
    return image.reshape(8, 8, 8, 8, 3).mean((1, 3))


def encode(image):
    return cells(image).ravel()


number = 5
'''


def cells(image):
    return image.reshape(8, 8, 8, 8, 3).mean((1, 3))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_features.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def untrained(feature, photos):
    standardization = Standardization.measure(feature, [feature(photos[:4])])
    return Inverter(feature, standardization, inversion.build(feature, width=0.1))


def test_a_function_of_a_program(photos):
    feature = features.from_function(cells)
    assert (feature.name, feature.spec.shape) == ("function/cells", (8, 8, 3))
    assert (feature.decoder, feature.in_graph) == ("convolutional", False)
    expected = [cells(image) for image in photos[:3]]
    np.testing.assert_allclose(feature(photos[:3]), expected, atol=1e-6)
    vector = features.from_function(lambda image: cells(image).ravel(), standardize="layer")
    assert (vector.spec.shape, vector.decoder) == ((192,), "fully_connected")
    assert Standardization.measure(vector, [vector(photos[:3])]).mean.shape == ()


def test_a_function_of_a_file(file, photos):
    feature = features.get(f"python:{file}:encode")
    expected = photos[:2].reshape(2, 8, 8, 8, 8, 3).mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(feature(photos[:2]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "kind_of_images", "values"),
    [
        ("float32", np.ndarray, lambda x: x),
        ("uint8", np.ndarray, lambda x: x / 255.0),
        ("pil", Image.Image, lambda x: np.asarray(x) / 255.0),
        ("tensor", None, keras.ops.convert_to_numpy),
    ],
)
def test_types_of_images(photos, kind, kind_of_images, values):
    seen = []

    def one(image):
        seen.append(image)
        return np.mean(values(image), (0, 1))

    def several(images):
        seen.extend(images)
        return [np.mean(values(image), (0, 1)) for image in images]

    images = photos[:3]
    for function in (one, several):
        feature = features.from_function(function, input=kind, batched=function is several)
        found = feature(images)
        np.testing.assert_allclose(found, images.mean((1, 2)), atol=3e-3)
        for image in seen:
            assert kind_of_images is None or isinstance(image, kind_of_images)
            assert getattr(image, "mode", "RGB") == "RGB"
        if kind == "uint8":
            assert {image.dtype for image in seen} == {np.dtype(np.uint8)}


def test_a_batched_function_is_called_once_for_a_batch(photos):
    sizes = []

    def encode(images):
        sizes.append(len(images))
        return images.mean((1, 2))

    feature = features.from_function(encode, batched=True)
    feature(photos[:5])
    assert sizes == [2, 5]


def test_a_function_may_change_its_argument(photos):
    def encode(image):
        image -= image.mean()
        return image.std((0, 1))

    images = photos[:2].copy()
    features.from_function(encode)(images)
    np.testing.assert_array_equal(images, photos[:2])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image: None, ["function/<lambda> must return a vector [n] or a grid"]),
        (lambda image: 1.5, ["must return a vector"]),
        (lambda image: image[:, :, 0], ["must return a vector", "shape [64, 64]"]),
        (lambda image: image[None, 0, 0], ["without a first axis of length 1", "[1, 3]"]),
        (lambda image: image.mean((0, 1)) * np.nan, ["finite real numbers"]),
        (lambda image: image.mean((0, 1)) * np.float64(1e300), ["finite real numbers"]),
        (lambda image: image.mean((0, 1)) * 1j, ["finite real numbers", "complex"]),
        (lambda image: ["a", "b"], ["finite real numbers"]),
        (lambda image: [], ["must return a vector"]),
        (lambda image: [[1], [1, 2]], ["failed on an image of 64×64 pixels: ValueError"]),
        (lambda image: 1 / 0, ["failed on an image of 64×64 pixels: ZeroDivisionError"]),
    ],
)
def test_wrong_results(function, words):
    refused(lambda: features.from_function(function), *words)


@pytest.mark.parametrize("function", [lambda x: x[0].mean((0, 1)), lambda x: x[:1].mean((1, 2))])
def test_wrong_results_for_batches(function):
    words = ["a row for each image: vectors [B, n]", "for 2 images"]
    refused(lambda: features.from_function(function, batched=True), *words)


def test_wrong_arguments():
    words = ["input of function/cells must be one of float32, uint8, pil, tensor", "'bytes'"]
    refused(lambda: features.from_function(cells, input="bytes"), *words)
    refused(lambda: features.from_function(cells, standardize="all"), "channel, layer")
    refused(lambda: features.from_function(cells, image_shape=(64, 64)), "image_shape must be")


def test_a_shape_that_changes(photos):
    def encode(image):
        return np.zeros(4 if image.mean() < 0.6 else 5)

    feature = features.from_function(encode)
    white = np.ones((1, 64, 64, 3), np.float32)
    assert feature(0 * white).shape == (1, 4)
    refused(lambda: feature(white), "must return the declared shape (4,). Received: (5,)")


def test_a_given_shape_needs_no_call():
    def encode(image):
        raise AssertionError

    assert features.from_function(encode, feature_shape=(7,)).spec.shape == (7,)


def test_a_partial_function_and_an_object(photos):
    class Encoder:
        def __call__(self, image):
            return image.mean((0, 1))

    assert features.from_function(functools.partial(np.mean, axis=(0, 1))).name == "function/mean"
    assert features.from_function(Encoder()).name == "function/Encoder"


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("missing.py:encode", None, ["missing.py cannot be read: No such file"]),
        ("f.py:other", SOURCE, ["f.py has no other; its functions are cells, encode"]),
        ("f.py:number", SOURCE, ["number of", "must be a function. Received: int"]),
        ("f.py:encode", "def encode(:", ["f.py failed: SyntaxError"]),
        ("f.py:encode", "import no_such_module", ["f.py failed: ModuleNotFoundError"]),
        ("f.py:encode", "raise SystemExit(3)", ["f.py failed: SystemExit"]),
        ("f.py", SOURCE, ["FILE.py:NAME"]),
        ("f.py:", SOURCE, ["FILE.py:NAME"]),
        ("f.txt:encode", SOURCE, ["FILE.py:NAME"]),
        ("", None, ["the options are python:FUNCTION,"]),
        ("f.py:encode,size=3", SOURCE, ["the options are python:FUNCTION,", "size=3"]),
        ("a,b.py:encode", None, ["put a value with a comma in double quotes"]),
    ],
)
def test_wrong_files(tmp_path, monkeypatch, name, source, words):
    monkeypatch.chdir(tmp_path)
    if source is not None:
        (tmp_path / "f.py").write_text(source, encoding="utf-8")
    refused(lambda: features.get(f"python:{name}"), *words)


def test_commas_and_colons_in_a_path(file, photos):
    other = file.with_name("a,b:c.py")
    shutil.copy(file, other)
    feature = features.get(f'python:"{other}:encode",standardize=layer')
    assert (feature.spec.shape, feature.standardize) == ((192,), "layer")


def test_a_file_imports_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 7.0\n", encoding="utf-8")
    text = (
        "def encode(image):\n    import neighbour_of_mine\n    return [neighbour_of_mine.VALUE]\n"
    )
    (tmp_path / "f.py").write_text(text, encoding="utf-8")
    feature = features.get(f"python:{tmp_path / 'f.py'}:encode")
    assert float(feature(np.zeros((1, 64, 64, 3), np.float32))[0, 0]) == 7


def test_identity_depends_on_the_source_and_not_on_its_path(file, tmp_path):
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "other.py"
    shutil.copy(file, copy)
    first, second = (features.get(f"python:{x}:encode").identity() for x in (file, copy))
    assert first == second == json.loads(json.dumps(first))
    assert features.get(f"python:{file}:cells").identity() != first
    assert features.get(f"python:{file}:encode,input=uint8").identity() != first
    copy.write_text(SOURCE.replace("mean((1", "max((1"), encoding="utf-8")
    changed = features.get(f"python:{copy}:encode")
    assert changed.identity() != first
    white = np.ones((1, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(changed(white), np.ones((1, 192)))


def test_a_saved_inverter_without_its_function(file, photos, tmp_path):
    feature = features.get(f"python:{file}:encode")
    inverter = untrained(feature, photos)
    values, expected = inverter.encode(photos[:2]), inverter.reconstruct(photos[:2])
    inverter.save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.encode(photos[:2]), values)
    card = tmp_path / "saved" / "inverter.json"
    text = card.read_text(encoding="utf-8").replace("function/encode", "function/embed")
    card.write_text(text, encoding="utf-8")
    file.write_text(SOURCE.replace("def encode", "def embed"), encoding="utf-8")
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.invert(values), expected, atol=1e-6)
    digest = json.loads(text)["feature"]["config"]["digest"]
    for call in (loaded.encode, loaded.reconstruct):
        line = refused(lambda call=call: call(photos[:2]), "needs the function embed", str(file))
        assert digest[:12] in line and f"--function={file}:embed" in line
    finished = run("tfinvert", "evaluate", "--inverter=saved", "--max_images=2", cwd=tmp_path)
    assert "needs the function embed" in error_line(finished)
    with pytest.warns(UserWarning, match="differs from the one that function/embed was trained"):
        finished = run(
            *("tfinvert", "evaluate", "--inverter=saved", "--max_images=2"),
            f"--function={file}:embed",
            cwd=tmp_path,
        )
    assert finished.returncode == 0 and "normalized_error" in finished.stdout


def test_the_name_in_a_saved_inverter_is_not_for_users():
    refused(lambda: features.get("function/encode"), "give python:FILE.py:NAME")


@pytest.mark.parametrize(
    "description",
    [
        {"name": "python", "config": {"function": "evil.py:encode"}},
        {"name": "python:evil.py:encode", "config": {}},
    ],
)
def test_loading_runs_no_code(tmp_path, monkeypatch, description, inverter):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("raise AssertionError\n", encoding="utf-8")
    inverter.save(tmp_path / "saved")
    card = tmp_path / "saved" / "inverter.json"
    content = json.loads(card.read_text(encoding="utf-8")) | {"feature": description}
    card.write_text(json.dumps(content), encoding="utf-8")
    refused(lambda: tfinvert.load(tmp_path / "saved"), "is refused, as it would run code")


def test_pickle_leaves_the_function_out(photos):
    feature = features.from_function(lambda image: cells(image))
    copy = pickle.loads(pickle.dumps(feature))
    np.testing.assert_array_equal(copy(photos[:2]), feature(photos[:2]))


TRAIN = ("tfinvert", "train", "--data=photos", "--steps=6", "--batch_size=4", "--width=0.1")
TRAIN += ("--network=paper", "--optimizer=adam", "--validation_images=4", "--checkpoint_every=2")
TRAIN += ("--feature=python:my_features.py:encode_and_stop",)
INTERRUPTING = """

import os
import pathlib
import signal


def encode_and_stop(image):
    if "STOP" in os.environ and [*pathlib.Path("run/checkpoints").glob("*")]:
        os.kill(os.getpid(), signal.SIGTERM)
    return encode(image)
"""


@pytest.mark.slow
def test_training_resumes_with_the_function_it_began_with(file, tmp_path, monkeypatch):
    file.write_text(SOURCE + INTERRUPTING, encoding="utf-8")
    whole = run(*TRAIN, "--workdir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    monkeypatch.setenv("STOP", "1")
    stopped = run(*TRAIN, "--workdir=run", cwd=tmp_path)
    assert stopped.returncode == 143 and "stopped after step" in stopped.stderr
    monkeypatch.delenv("STOP")
    file.write_text(SOURCE + INTERRUPTING + "# changed\n", encoding="utf-8")
    changed = run(*TRAIN, "--workdir=run", cwd=tmp_path)
    assert "created with other flags" in error_line(changed) and "feature_digest" in changed.stderr
    file.write_text(SOURCE + INTERRUPTING, encoding="utf-8")
    resumed = run(*TRAIN, "--workdir=run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    first, second = (
        tfinvert.load(tmp_path / name / "inverter").network.get_weights()
        for name in ("whole", "run")
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_function_that_fails_during_training(file, tmp_path):
    text = "calls = []\n\n\ndef encode_and_stop(image):\n    calls.append(0)\n"
    file.write_text(text + "    return [0.5] * (3 if len(calls) < 400 else 4)\n", encoding="utf-8")
    line = error_line(run(*TRAIN, "--steps=400", "--workdir=run", cwd=tmp_path))
    assert "function/encode_and_stop must return the declared shape (3,). Received: (4,)" in line
