"""A feature that a server cannot compute: the client computes it, and the server inverts it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests import programs
from tests.programs import error_line
from tfinvert.serving import client, export_savedmodel
from tfinvert.serving.client_features import build_invert_request, compute_file_features

PROGRAM = "export/compute_features.py"


@pytest.fixture(scope="module")
def saved(host_inverter, tmp_path_factory):
    """The directory of the inverter."""
    path = tmp_path_factory.mktemp("sift") / "inverter"
    host_inverter.save(path)
    return path


@pytest.fixture
def files(photo, tmp_path):
    """A photograph, and the photograph upside down, as files."""
    for name, pixels in (("a.png", photo), ("b.png", photo[::-1])):
        Image.fromarray(pixels).save(tmp_path / name)
    return [tmp_path / "a.png", tmp_path / "b.png"]


@pytest.mark.parametrize("endpoints", [["serving_default"], ["invert", "reconstruct_bytes"]])
def test_image_endpoints_are_rejected_with_the_reason(host_inverter, tmp_path, endpoints):
    with pytest.raises(tfinvert.InputError, match="sift is computed by Python on the host"):
        export_savedmodel(host_inverter, tmp_path / "sift", endpoints=endpoints)
    assert not [*tmp_path.iterdir()]


def test_the_clients_features_are_those_of_the_inverter(host_inverter, photo, files):
    features = compute_file_features(host_inverter.feature, files)
    images = np.stack([photo, photo[::-1]]).astype(np.float32) / 255
    np.testing.assert_array_equal(features, host_inverter.feature(images))
    body = json.loads(json.dumps(build_invert_request(features)))
    assert body["signature_name"] == "invert"
    np.testing.assert_allclose(np.array(body["instances"], np.float32), features, rtol=1e-6)


def test_from_image_files_to_a_reconstruction_and_a_request(
    host_inverter, saved, host_model, photo, files, tmp_path
):
    features = tmp_path / "features.npy"
    result = programs.run(PROGRAM, f"--inverter={saved}", f"--output={features}", files[0])
    assert result.returncode == 0, result.stderr
    assert "sift of 1 images, [1, 16, 16, 133]" in result.stdout
    (image,) = client.Client(host_model).invert(client.read_features(features))
    expected = host_inverter.reconstruct(photo[np.newaxis].astype(np.float32) / 255)[0]
    np.testing.assert_allclose(image, expected, atol=1e-5)
    result = programs.run(PROGRAM, f"--inverter={saved}", f"--output={tmp_path}/r.json", *files)
    assert result.returncode == 0, result.stderr
    instances = json.loads((tmp_path / "r.json").read_text())["instances"]
    assert np.shape(instances) == (2, 16, 16, 133)


@pytest.mark.slow
def test_the_script_reconstructs_from_a_file_of_features(
    host_inverter, host_model, photo, files, tmp_path
):
    features, output = tmp_path / "features.npy", tmp_path / "out.png"
    np.save(features, compute_file_features(host_inverter.feature, files[:1]))
    served = subprocess.run(
        [sys.executable, client.__file__, host_model, features, output],
        capture_output=True,
        text=True,
    )
    assert served.returncode == 0, served.stderr
    expected = host_inverter.reconstruct(photo[np.newaxis].astype(np.float32) / 255)[0]
    found = np.asarray(Image.open(output)) / 255
    np.testing.assert_allclose(found, expected, atol=0.5 / 255 + 1e-5)


def test_wrong_input_of_the_program(saved):
    for arguments, message in (
        (["--output=features.npy"], "give image files"),
        (["--output=features.txt", "a.png"], "must be a .npy or .json file"),
        (["--output=features.npy", "missing.png"], "missing.png: No such file"),
    ):
        result = programs.run(PROGRAM, f"--inverter={saved}", *arguments)
        assert message in error_line(result)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 16, 16, 133)), "must hold float32 features of one image"),
        (np.zeros((2, 16, 16, 133), np.float32), "must hold float32 features of one image"),
        (np.array([None]), "pickle"),
    ],
)
def test_features_that_the_client_rejects(tmp_path, features, message):
    np.save(tmp_path / "features.npy", features)
    with pytest.raises(ValueError, match=message):
        client.read_features(tmp_path / "features.npy")


def test_features_that_the_model_rejects(host_model):
    message = r"features for the endpoint invert must .*Received: \(1, 8, 8, 31\)"
    with pytest.raises(ValueError, match=message):
        client.Client(host_model).invert(np.zeros((1, 8, 8, 31), np.float32))
