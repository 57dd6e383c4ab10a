import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfinvert.serving import export_savedmodel
from tfinvert.serving.client import Client

ROOT = pathlib.Path(__file__).parents[2]


def run(script, *arguments):
    """A script in a fresh process, from any folder."""
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True
    )


def refused(result):
    """The line that says what was wrong, below what TensorFlow itself has to say."""
    assert result.returncode == 2
    assert not result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.fixture
def photo_png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_files_and_arrays_of_a_model_on_disk(inverter, model, photo, photo_png):
    images = photo[np.newaxis].astype(np.float32) / 255
    expected = inverter.reconstruct(images)[0]
    client = Client(model)
    (found,) = client.reconstruct(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (png,) = client.reconstruct([photo_png.read_bytes()])
    np.testing.assert_allclose(tf.io.decode_png(png) / 255, expected, atol=0.501 / 255)
    (found,) = client.invert(inverter.feature(images).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert client.reconstruct([]) == []


def test_files_and_arrays_of_any_size(free_inverter, free_model, photo):
    images = [photo[:50] / np.float32(255), photo / np.float32(255)]
    files = [tf.io.encode_png(image).numpy() for image in (photo[:50], photo)]
    client = Client(free_model)
    found = zip(client.reconstruct(images), client.reconstruct(files), strict=True)
    for (array, png), expected in zip(found, free_inverter.reconstruct(images), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5)
        np.testing.assert_allclose(tf.io.decode_png(png) / 255, expected, atol=0.501 / 255)


def test_the_script_writes_the_png_in_a_process_without_keras(model, photo_png, tmp_path):
    output = tmp_path / "out.png"
    result = run("tfinvert/serving/client.py", model, photo_png, output)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{output}: 64×64 pixels\n"
    assert [output.read_bytes()] == Client(model).reconstruct([photo_png.read_bytes()])


def test_the_script_loads_neither_keras_nor_tfinvert(model, photo_png, tmp_path):
    code = (
        "import runpy, sys; sys.argv[0] = 'client.py'\n"
        f"runpy.run_path({str(ROOT / 'tfinvert/serving/client.py')!r}, run_name='__main__')\n"
        "print(sys.modules['keras'], any(m.startswith('tfinvert') for m in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, model, photo_png, tmp_path / "out.png"],
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1] == "None False", result.stderr


def test_the_script_refuses_garbage(model, tmp_path):
    (tmp_path / "garbage.jpg").write_bytes(b"no image at all")
    output = tmp_path / "out.png"
    result = run("tfinvert/serving/client.py", model, tmp_path / "garbage.jpg", output)
    assert "must each hold a JPEG or PNG" in refused(result)
    assert not output.exists()


def test_the_script_refuses_a_missing_image_and_a_missing_model(model, photo_png, tmp_path):
    output = tmp_path / "out.png"
    result = run("tfinvert/serving/client.py", model, tmp_path / "none.png", output)
    assert refused(result).startswith("error: ")
    assert "none.png" in result.stderr
    result = run("tfinvert/serving/client.py", tmp_path / "none", photo_png, output)
    assert refused(result) == f"error: no SavedModel at {tmp_path / 'none'}"


def test_a_damaged_model_is_refused(model, tmp_path):
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / "variables" / "variables.index").unlink()
    with pytest.raises(ValueError, match="damaged cannot be loaded"):
        Client(damaged)
    (damaged / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="damaged cannot be loaded"):
        Client(damaged)


def test_a_model_without_the_endpoint_is_refused(inverter, photo_png, tmp_path):
    model = export_savedmodel(inverter, tmp_path / "hog", endpoints=["invert"])
    with pytest.raises(ValueError, match="has no endpoint reconstruct_bytes"):
        Client(model).reconstruct([photo_png.read_bytes()])
