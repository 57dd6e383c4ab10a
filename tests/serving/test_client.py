"""The client with a model on disk, as a class and as a script."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import programs
from tfinvert.serving.client import Client

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = "tfinvert/serving/client.py"


def run_in_process(*arguments):
    return programs.run(SCRIPT, *arguments)


def run_process(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / SCRIPT, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(params=["in process", pytest.param("process", marks=pytest.mark.slow)])
def run(request):
    """Runs the script, from any folder."""
    return run_in_process if request.param == "in process" else run_process


def error_line(result):
    """Returns the error line of a failed run, which may follow output of TensorFlow."""
    assert result.returncode == 2
    assert not result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.fixture
def photo_png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_files_and_arrays_of_a_model_on_disk(inverter, client, photo, photo_png):
    images = photo[np.newaxis].astype(np.float32) / 255
    expected = inverter.reconstruct(images)[0]
    (found,) = client.reconstruct(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (png,) = client.reconstruct([photo_png.read_bytes()])
    np.testing.assert_allclose(tf.io.decode_png(png) / 255, expected, atol=0.501 / 255)
    (found,) = client.invert(inverter.feature(images).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert client.reconstruct([]) == []
    for image in (images[0], photo, images[0].astype(np.float64)):
        np.testing.assert_allclose(client.reconstruct(image), expected, atol=1e-5)
    np.testing.assert_allclose(client.reconstruct([photo, images[0]]), [expected] * 2, atol=1e-5)
    for file in (photo_png, str(photo_png), photo_png.read_bytes()):
        assert client.reconstruct(file) == png


@pytest.mark.slow
def test_files_and_arrays_of_any_size(any_size_inverter, any_size_client, photo):
    images = [photo[:50] / np.float32(255), photo / np.float32(255)]
    files = [tf.io.encode_png(image).numpy() for image in (photo[:50], photo)]
    arrays = any_size_client.reconstruct(images)
    found = zip(arrays, any_size_client.reconstruct(files), strict=True)
    for (array, png), expected in zip(found, any_size_inverter.reconstruct(images), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5)
        np.testing.assert_allclose(tf.io.decode_png(png) / 255, expected, atol=0.501 / 255)


def test_the_script_writes_the_png_without_keras(run, model, client, photo_png, tmp_path):
    output = tmp_path / "out.png"
    result = run(model, photo_png, output)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{output}: 64x64 pixels\n"
    assert [output.read_bytes()] == client.reconstruct([photo_png.read_bytes()])


@pytest.mark.slow
def test_the_script_imports_neither_keras_nor_tfinvert(model, photo_png, tmp_path):
    code = (
        "import runpy, sys; sys.argv[0] = 'client.py'\n"
        f"runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')\n"
        "print(sys.modules['keras'], any(m.startswith('tfinvert') for m in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, model, photo_png, tmp_path / "out.png"],
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1] == "None False", result.stderr


def test_the_script_rejects_wrong_input(run, model, photo_png, tmp_path):
    (tmp_path / "garbage.jpg").write_bytes(b"not an image")
    output = tmp_path / "out.png"
    result = run(model, tmp_path / "garbage.jpg", output)
    assert "must each hold a JPEG or PNG" in error_line(result)
    assert not output.exists()
    result = run(model, tmp_path / "none.png", output)
    assert error_line(result).startswith("error: ")
    assert "none.png" in result.stderr
    result = run(tmp_path / "none", photo_png, output)
    assert error_line(result) == f"error: there is no SavedModel at {tmp_path / 'none'}"


def test_a_damaged_model_is_rejected(model, tmp_path):
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / "variables" / "variables.index").unlink()
    with pytest.raises(ValueError, match="damaged cannot be loaded"):
        Client(damaged)
    (damaged / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="damaged cannot be loaded"):
        Client(damaged)


def test_a_model_without_the_endpoint_is_rejected(host_model, photo_png):
    with pytest.raises(ValueError, match="has no endpoint reconstruct_bytes"):
        Client(host_model).reconstruct([photo_png.read_bytes()])
