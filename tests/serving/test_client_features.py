"""A feature that a server cannot compute: the client does, and the server inverts it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import call, error_line
from tfinvert.serving import client, export_savedmodel
from tfinvert.serving.client_features import build_invert_request, compute_file_features


@pytest.fixture(scope="module")
def sift(sift_inverter, tmp_path_factory):
    """The directory of the inverter, and of its exported version."""
    place = tmp_path_factory.mktemp("sift")
    sift_inverter.save(place / "inverter")
    exported = export_savedmodel(sift_inverter, place / "models" / "sift", endpoints=["invert"])
    return place / "inverter", exported


@pytest.fixture
def files(photo, tmp_path):
    """The same photograph, and it turned, as files."""
    for name, pixels in (("a.png", photo), ("b.png", photo[::-1])):
        Image.fromarray(pixels).save(tmp_path / name)
    return [tmp_path / "a.png", tmp_path / "b.png"]


@pytest.mark.parametrize("endpoints", [["serving_default"], ["invert", "reconstruct_bytes"]])
def test_image_endpoints_are_refused_with_the_reason(sift_inverter, tmp_path, endpoints):
    with pytest.raises(tfinvert.InputError, match="sift is computed by Python on the host"):
        export_savedmodel(sift_inverter, tmp_path / "sift", endpoints=endpoints)
    assert not [*tmp_path.iterdir()]


def test_the_clients_features_are_those_the_inverter_takes(sift_inverter, photo, files):
    features = compute_file_features(sift_inverter.feature, files)
    images = np.stack([photo, photo[::-1]]).astype(np.float32) / 255
    np.testing.assert_array_equal(features, sift_inverter.feature(images))
    body = json.loads(json.dumps(build_invert_request(features)))
    assert body["signature_name"] == "invert"
    np.testing.assert_allclose(np.array(body["instances"], np.float32), features, rtol=1e-6)


def test_from_an_image_file_to_a_reconstruction(sift_inverter, sift, photo, files, tmp_path):
    inverter, model = sift
    features, output = tmp_path / "features.npy", tmp_path / "out.png"
    made = call(
        "export/compute_features.py", f"--inverter={inverter}", f"--output={features}", files[0]
    )
    assert made.returncode == 0, made.stderr
    assert "sift of 1 images, [1, 16, 16, 133]" in made.stdout
    served = subprocess.run(
        [sys.executable, client.__file__, model, features, output], capture_output=True, text=True
    )
    assert served.returncode == 0, served.stderr
    expected = sift_inverter.reconstruct(photo[np.newaxis].astype(np.float32) / 255)[0]
    rebuilt = np.asarray(Image.open(output)) / 255
    np.testing.assert_allclose(rebuilt, expected, atol=0.5 / 255 + 1e-5)


def test_a_request_body_is_written_too(sift, files, tmp_path):
    made = call(
        "export/compute_features.py", f"--inverter={sift[0]}", f"--output={tmp_path}/r.json", *files
    )
    assert made.returncode == 0, made.stderr
    instances = json.loads((tmp_path / "r.json").read_text())["instances"]
    assert np.shape(instances) == (2, 16, 16, 133)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=features.npy"], "give the image files"),
        (["--output=features.txt", "a.png"], "must be a .npy or a .json file"),
        (["--output=features.npy", "missing.png"], "missing.png: No such file"),
    ],
)
def test_wrong_input_of_the_program(sift, tmp_path, arguments, message):
    result = call("export/compute_features.py", f"--inverter={sift[0]}", *arguments)
    assert message in error_line(result)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 16, 16, 133)), "must hold float32 features of one image"),
        (np.zeros((2, 16, 16, 133), np.float32), "must hold float32 features of one image"),
        (np.array([None]), "pickle"),
    ],
)
def test_features_the_client_refuses(tmp_path, features, message):
    np.save(tmp_path / "features.npy", features)
    with pytest.raises(ValueError, match=message):
        client.read_features(tmp_path / "features.npy")


def test_features_the_model_refuses(sift):
    with pytest.raises(ValueError, match=r"invert takes features .*Received: \(1, 8, 8, 31\)"):
        client.Client(sift[1]).invert(np.zeros((1, 8, 8, 31), np.float32))
