"""Exported SavedModels: layout, signatures, outputs, warm-up requests and errors."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import empty_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorflow.core.framework.tensor_pb2 import TensorProto

import tfinvert
from tfinvert.errors import InputError
from tfinvert.features.standardization import Standardization
from tfinvert.networks import uncertainty
from tfinvert.serving import ENDPOINTS, check_savedmodel, export_savedmodel
from tfinvert.serving.client import Client
from tfinvert.serving.warmup import PATH, encode_prediction_log


class Weighted(tfinvert.features.Feature):
    """A feature with weights of its own."""

    name = "weighted"

    def __init__(self):
        super().__init__((32, 32, 3))
        self.conv = keras.layers.Conv2D(5, 3, 4, padding="same")
        self.conv.build((None, 32, 32, 3))

    @property
    def spec(self):
        return tf.TensorSpec((8, 8, 5), tf.float32)

    def compute(self, images):
        return self.conv(images)


def listing(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_every_endpoint_gives_what_the_inverter_gives(inverter, model, photo, signatures):
    images = np.stack([photo, photo[::-1]]).astype(np.float32) / 255
    expected = inverter.reconstruct(images)
    loaded = signatures(model)
    assert set(loaded) == set(ENDPOINTS)
    found = loaded["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(found["reconstruction"], expected, atol=1e-5)
    found = loaded["invert"](features=inverter.feature(images))
    np.testing.assert_allclose(found["reconstruction"], expected, atol=1e-5)
    files = tf.stack([tf.io.encode_png(image) for image in (photo, photo[::-1])])
    found = loaded["reconstruct_bytes"](image_bytes=files)
    np.testing.assert_allclose(found["reconstruction"], expected, atol=1e-5)
    assert [tf.io.decode_png(png).shape for png in found["png_bytes"]] == [(64, 64, 3)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["any_size_inverter", "inverter"])
def test_uncertainty_is_served(kind, request, photo, tmp_path, signatures):
    plain = request.getfixturevalue(kind)
    head = uncertainty.build_head(plain.network)
    for weight in head.weights:
        weight.assign(weight + 0.01)
    with_head = tfinvert.Inverter(
        plain.feature,
        plain.standardization,
        plain.network,
        {},
        uncertainty.UncertaintyHead(head, np.ones(3, "f4")),
    )
    path = export_savedmodel(with_head, tmp_path / "model")
    images = np.stack([photo, photo[::-1]]).astype(np.float32) / 255
    loaded, features = signatures(path), with_head.encode(images)
    for name, value in (
        ("serving_default", {"images": images}),
        ("invert", {"features": features}),
    ):
        found = loaded[name](**{key: tf.constant(array) for key, array in value.items()})
        np.testing.assert_allclose(found["reconstruction"], plain.reconstruct(images), atol=1e-5)
        expected = with_head.uncertainty(features)
        np.testing.assert_allclose(found["uncertainty"], expected, rtol=1e-3)
    files = [tf.io.encode_png(photo).numpy()]
    client = Client(path)
    np.testing.assert_allclose(client.reconstruct(images), plain.reconstruct(images), atol=1e-5)
    assert client.reconstruct(files)[0].startswith(b"\x89PNG")


def test_the_layout_is_that_of_a_model_server(model):
    assert model.name == "1"
    assert model.parent.name == "hog"
    assert os.listdir(model.parent) == ["1"]
    assert {"saved_model.pb", "variables/variables.index", str(PATH)} <= set(listing(model))


def test_the_signatures_of_one_size(model):
    assert check_savedmodel(model) == {
        "invert": [
            "input features: float32 [?, 8, 8, 31]",
            "output reconstruction: float32 [?, 64, 64, 3]",
        ],
        "reconstruct_bytes": [
            "input image_bytes: string [?]",
            "output png_bytes: string [?]",
            "output reconstruction: float32 [?, 64, 64, 3]",
        ],
        "serving_default": [
            "input images: float32 [?, 64, 64, 3]",
            "output reconstruction: float32 [?, 64, 64, 3]",
        ],
    }


def test_the_signatures_of_any_size(any_size_model):
    assert check_savedmodel(any_size_model) == {
        "invert": [
            "input features: float32 [?, ?, ?, 31]",
            "output reconstruction: float32 [?, ?, ?, 3]",
        ],
        "reconstruct_bytes": ["input image_bytes: string [?]", "output png_bytes: string [?]"],
        "serving_default": [
            "input images: float32 [?, ?, ?, 3]",
            "output reconstruction: float32 [?, ?, ?, 3]",
        ],
    }


def test_a_feature_with_weights_is_exported_with_them(tmp_path, signatures):
    feature = Weighted()
    standardization = Standardization(np.zeros(5, "f4"), np.ones(5, "f4"))
    image = keras.layers.Conv2DTranspose(3, 4, 4)(inputs := keras.Input((8, 8, 5)))
    network = keras.Model(inputs, image)
    inverter = tfinvert.Inverter(feature, standardization, network)
    path = export_savedmodel(inverter, tmp_path / "weighted", endpoints=["serving_default"])
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    found = signatures(path)["serving_default"](images=tf.constant(images))["reconstruction"]
    np.testing.assert_allclose(found, inverter.reconstruct(images), atol=1e-5)


def test_a_host_feature_is_exported_from_its_features(
    host_inverter, host_model, photo, tmp_path, signatures
):
    with pytest.raises(InputError, match="which a model server does not run"):
        export_savedmodel(host_inverter, tmp_path / "host")
    assert not listing(tmp_path)
    loaded = signatures(host_model)
    assert set(loaded) == {"invert", "serving_default"}
    images = photo[np.newaxis].astype(np.float32) / 255
    features = host_inverter.feature(images)
    found = loaded["invert"](features=features)["reconstruction"]
    np.testing.assert_allclose(found, host_inverter.reconstruct(images), atol=1e-5)


def test_an_existing_version_is_kept_and_another_is_added_silently(
    host_inverter, host_model, tmp_path, capfd
):
    path = shutil.copytree(host_model.parent, tmp_path / "sift") / "1"
    before = (path / "saved_model.pb").stat()
    with pytest.raises(InputError, match="sift/1 already exists"):
        export_savedmodel(host_inverter, tmp_path / "sift", endpoints=["invert"])
    assert (path / "saved_model.pb").stat() == before
    export_savedmodel(host_inverter, tmp_path / "sift", version=2, endpoints=["invert"])
    assert sorted(os.listdir(tmp_path / "sift")) == ["1", "2"]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("older", [False, True])
def test_a_failed_export_leaves_nothing(inverter, tmp_path, monkeypatch, older):
    def fail(path):
        raise InputError("rejected")

    if older:
        (tmp_path / "hog" / "1").mkdir(parents=True)
    before = listing(tmp_path)
    monkeypatch.setattr("tfinvert.serving.export.check_savedmodel", fail)
    with pytest.raises(InputError, match="rejected"):
        export_savedmodel(inverter, tmp_path / "hog", version=2, endpoints=["invert"])
    assert listing(tmp_path) == before


def test_wrong_arguments_are_rejected(inverter, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        export_savedmodel(inverter, tmp_path / "file", endpoints=["invert"])
    with pytest.raises(InputError, match="version must be"):
        export_savedmodel(inverter, tmp_path / "hog", version=-1)
    with pytest.raises(InputError, match=r"sample must be .*uint8 \(64, 64, 3\)"):
        export_savedmodel(inverter, tmp_path / "hog", sample=np.zeros((64, 64, 3), np.uint8))
    assert listing(tmp_path) == ["file"]


def test_an_inverter_exports_itself(inverter, tmp_path, signatures):
    path = inverter.export(tmp_path / "mine", version=3, endpoints=["invert"])
    assert path == tmp_path / "mine" / "3"
    features = np.zeros((1, *inverter.feature.spec.shape), np.float32)
    found = signatures(path)["invert"](features=tf.constant(features))
    np.testing.assert_allclose(found["reconstruction"], inverter.invert(features), atol=1e-5)
    with pytest.raises(InputError, match="already exists"):
        inverter.export(tmp_path / "mine", version=3)


def fields(message):
    """Returns number and content of each field, parsed by protobuf without a schema."""
    return [(f.field_number, f.data) for f in UnknownFieldSet(empty_pb2.Empty.FromString(message))]


@pytest.mark.parametrize("size", [1, 30, 31, 32, 5000])
def test_the_protocol_buffer_of_a_warm_up_request(size):
    value = np.arange(size, dtype=np.float32)
    ((number, predict_log),) = fields(encode_prediction_log("invert", "features", value))
    assert number == 6
    ((number, request),) = fields(predict_log)
    assert number == 1
    (spec_number, model_spec), (inputs_number, named_input) = fields(request)
    assert (spec_number, fields(model_spec)) == (1, [(3, b"invert")])
    (key_number, key), (value_number, tensor) = fields(named_input)
    assert (inputs_number, key_number, key, value_number) == (2, 1, b"features", 2)
    np.testing.assert_array_equal(tf.make_ndarray(TensorProto.FromString(tensor)), value)
