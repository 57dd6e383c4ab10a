"""The exported model in a process without Python, on TensorFlow's C API as a model server uses."""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import tfinvert
from tfinvert.serving import export_savedmodel

SOURCE = pathlib.Path(__file__).with_name("c_runtime.c")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc, gcc)")
    libraries = tf.sysconfig.get_lib()
    path = tmp_path_factory.mktemp("c_runtime") / "c_runtime"
    command = [compiler, "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(path)]
    command += ["-I", tf.sysconfig.get_include(), "-L", libraries, f"-Wl,-rpath,{libraries}"]
    command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run(command, check=True)
    return path


class Server:
    """Sends requests to one process and keeps what it said."""

    def __init__(self, program, model, folder):
        self.program, self.model, self.folder = program, model, folder
        saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
        self.signatures = saved.meta_graphs[0].signature_def

    def request(self, endpoint, value, output="reconstruction"):
        """The arguments of one request; `value` is a float32 array or the bytes of a file."""
        signature = self.signatures[endpoint]
        (input_tensor,) = signature.inputs.values()
        file = self.folder / f"request{len(os.listdir(self.folder))}"
        if isinstance(value, bytes):
            file.write_bytes(value)
            dimensions = "bytes"
        else:
            file.write_bytes(value.astype("<f4").tobytes())
            dimensions = ",".join(map(str, value.shape))
        return [input_tensor.name, signature.outputs[output].name, dimensions, str(file)]

    def run(self, *requests):
        """Exit status, a line for each request, the bytes of the last value, peak KiB of memory."""
        answer = self.folder / "answer"
        command = [self.program, self.model, answer, *sum(requests, [])]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        with (self.folder / "stdout").open("w+") as stdout:
            process = subprocess.Popen(command, stdout=stdout, env=environment)
            _, ended, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(ended)  # Popen did not see the end
            stdout.seek(0)
            lines = [
                line for line in stdout.read().splitlines() if line.startswith(("ok", "error"))
            ]
        value = answer.read_bytes() if answer.exists() else b""
        return process.returncode, lines, value, usage.ru_maxrss


@pytest.fixture
def server(program, model, tmp_path):
    return Server(program, model, tmp_path)


@pytest.fixture
def images(photo):
    return np.stack([photo, photo[:, ::-1]]).astype(np.float32) / 255


@pytest.fixture
def png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


def as_images(data):
    return np.frombuffer(data, "<f4").reshape(-1, 64, 64, 3)


def test_images_and_features_give_what_keras_gives(server, inverter, images):
    expected = inverter.reconstruct(images)
    assert expected.std() > 0.02
    status, lines, data, _ = server.run(server.request("serving_default", images))
    assert (status, lines) == (0, ["ok"])
    np.testing.assert_allclose(as_images(data), expected, atol=1e-5)
    features = inverter.feature(images).numpy()
    status, lines, data, _ = server.run(server.request("invert", features))
    assert (status, lines) == (0, ["ok"])
    np.testing.assert_allclose(as_images(data), expected, atol=1e-5)


@pytest.mark.parametrize("layer", ["conv5", "fc6"])
def test_a_layer_of_alexnet_is_served_whole(program, images, png, tmp_path, layer):
    inverter = tfinvert.load(f"alexnet-{layer}-64")
    server = Server(program, export_savedmodel(inverter, tmp_path / layer), tmp_path)
    expected = inverter.reconstruct(images)
    features = inverter.feature(images).numpy()
    for request in (
        server.request("serving_default", images),
        server.request("invert", features),
    ):
        status, lines, data, _ = server.run(request)
        assert (status, lines) == (0, ["ok"])
        np.testing.assert_allclose(as_images(data), expected, atol=1e-4)
    status, lines, data, _ = server.run(server.request("reconstruct_bytes", png))
    assert (status, lines) == (0, ["ok"])
    np.testing.assert_allclose(as_images(data), expected[:1], atol=1e-4)


def test_png_bytes_give_what_keras_gives(server, inverter, images, png):
    expected = inverter.reconstruct(images[:1])
    status, lines, data, _ = server.run(server.request("reconstruct_bytes", png))
    assert (status, lines) == (0, ["ok"])
    np.testing.assert_allclose(as_images(data), expected, atol=1e-5)
    status, lines, data, _ = server.run(server.request("reconstruct_bytes", png, "png_bytes"))
    assert (status, lines) == (0, ["ok"])
    pixels = tf.io.decode_png(data).numpy() / 255
    np.testing.assert_allclose(pixels, expected[0], atol=0.5001 / 255)


SHAPES = {
    "rank 3": (64, 64, 3),
    "rank 5": (1, 1, 64, 64, 3),
    "rank 1": (64,),
    "scalar": (),
    "grey": (1, 64, 64, 1),
    "larger": (1, 128, 128, 3),
    "smaller": (1, 8, 8, 3),
}


@pytest.mark.parametrize("endpoint", ["serving_default", "invert"])
def test_wrong_shapes_are_errors_and_the_process_lives(server, inverter, images, endpoint):
    good = images if endpoint == "serving_default" else inverter.feature(images).numpy()
    bad = [server.request(endpoint, np.zeros(shape)) for shape in SHAPES.values()]
    status, lines, data, _ = server.run(*bad, server.request(endpoint, good))
    assert status == 3
    assert len(lines) == len(bad) + 1
    assert lines[-1] == "ok"
    assert all(line.startswith("error") and "is not compatible with" in line for line in lines[:-1])
    np.testing.assert_allclose(as_images(data), inverter.reconstruct(images), atol=1e-5)


def test_an_empty_batch_leaves_the_process_alive(server, images):
    empty = server.request("serving_default", np.zeros((0, 64, 64, 3)))
    _, lines, _, _ = server.run(empty, server.request("serving_default", images))
    assert lines[-1] == "ok"


def test_garbage_bytes_are_errors_and_the_process_lives(server, inverter, images, png):
    bad = [b"", b"no image at all", b"GIF89a" + bytes(50), png[:40], png[:-100]]
    requests = [server.request("reconstruct_bytes", data) for data in (*bad, png)]
    status, lines, data, _ = server.run(*requests)
    assert status == 3
    assert [line.split()[0] for line in lines] == ["error"] * len(bad) + ["ok"]
    np.testing.assert_allclose(as_images(data), inverter.reconstruct(images[:1]), atol=1e-5)


def test_a_decompression_bomb_takes_no_memory(server, png, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")  # 1.6 GB with four channels
    bomb = (tmp_path / "bomb.png").read_bytes()
    good = server.request("reconstruct_bytes", png)
    _, _, _, usual = server.run(good)
    status, lines, _, peak = server.run(server.request("reconstruct_bytes", bomb), good)
    assert status == 3
    assert "at most 16777216 pixels" in lines[0]
    assert lines[1] == "ok"
    assert peak < usual + 100_000


@pytest.fixture
def free_server(program, free_model, tmp_path):
    return Server(program, free_model, tmp_path)


def test_images_of_any_size_give_what_keras_gives(free_server, free_inverter, photo):
    large = skimage.data.coffee()[:250, :331].astype(np.float32)[np.newaxis] / 255
    small = photo[np.newaxis, :60, :41].astype(np.float32) / 255
    first, second = (free_server.request("serving_default", x) for x in (small, large))
    status, lines, data, _ = free_server.run(first, second)
    assert (status, lines) == (0, ["ok", "ok"])
    found = np.frombuffer(data, "<f4").reshape(large.shape)
    np.testing.assert_allclose(found, free_inverter.reconstruct(large), atol=1e-5)
    features = free_inverter.encode(large)
    status, lines, data, _ = free_server.run(free_server.request("invert", features))
    assert (status, lines) == (0, ["ok"])
    found = np.frombuffer(data, "<f4").reshape(1, 256, 336, 3)
    np.testing.assert_allclose(found, free_inverter.invert(features), atol=1e-5)


def test_a_jpeg_gives_a_png_of_its_size(free_server, free_inverter):
    jpeg = tf.io.encode_jpeg(skimage.data.coffee(), quality=95).numpy()
    request = free_server.request("reconstruct_bytes", jpeg, "png_bytes")
    status, lines, data, _ = free_server.run(request)
    assert (status, lines) == (0, ["ok"])
    image = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")[np.newaxis] / 255
    expected = free_inverter.reconstruct(tf.cast(image, tf.float32).numpy())[0]
    pixels = tf.io.decode_png(data).numpy() / 255
    np.testing.assert_allclose(pixels, expected, atol=0.501 / 255)


def test_what_is_too_large_or_small_is_an_error_and_the_process_lives(free_server, photo):
    image = photo[np.newaxis].astype(np.float32) / 255
    wide = tf.io.encode_png(np.zeros((1100, 4000, 3), np.uint8)).numpy()
    thin = tf.io.encode_png(photo[:5]).numpy()
    bad = [
        free_server.request("serving_default", image[:, :5]),
        free_server.request("serving_default", np.zeros((1100, 64, 64, 3))),
        free_server.request("invert", np.zeros((1, 7, 8, 31))),
        free_server.request("invert", np.zeros((1, 0, 8, 31))),
        free_server.request("reconstruct_bytes", wide, "png_bytes"),
        free_server.request("reconstruct_bytes", thin, "png_bytes"),
    ]
    status, lines, _, _ = free_server.run(*bad, free_server.request("serving_default", image))
    assert status == 3
    assert [line.split()[0] for line in lines] == ["error"] * len(bad) + ["ok"]
    told = ("at least 8×8 pixels", "4194304 together", "multiples of 2", "multiples of 2")
    for line, message in zip(
        lines, (*told, "at most 4194304 pixels", "at least 8×8"), strict=False
    ):
        assert message in line
