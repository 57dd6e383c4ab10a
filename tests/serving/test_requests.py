"""Requests to an exported model, in this process and, slow, in one without Python.

The latter (c_runtime.c) uses TensorFlow's C API, as a model server does.
"""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import tfinvert
from tfinvert.serving import export_savedmodel


class Server:
    """Sends requests and unpacks the answers."""

    def __init__(self, program):
        self.program = program

    def image(self, endpoint, value, shape=(-1, 64, 64, 3)):
        data, error = self.program.ask(endpoint, value, "reconstruction")
        assert not error
        return np.frombuffer(data, "<f4").reshape(shape)

    def file(self, value):
        data, error = self.program.ask("reconstruct_bytes", value, "png_bytes")
        assert not error
        return tf.io.decode_png(data).numpy()

    def error(self, endpoint, value, output="reconstruction", **shape):
        data, error = self.program.ask(endpoint, value, output, **shape)
        assert data is None
        return error


@pytest.fixture(scope="module")
def server(serve, model):
    with serve(model) as program:
        yield Server(program)


@pytest.fixture(scope="module")
def any_size_server(serve, any_size_model):
    with serve(any_size_model) as program:
        yield Server(program)


@pytest.fixture
def images(photo):
    return np.stack([photo, photo[:, ::-1]]).astype(np.float32) / 255


@pytest.fixture
def png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


def test_images_features_and_files_give_what_keras_gives(server, inverter, images, png):
    expected = inverter.reconstruct(images)
    assert expected.std() > 0.02
    found = server.image("serving_default", images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = server.image("invert", inverter.feature(images).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = server.image("reconstruct_bytes", png)
    np.testing.assert_allclose(found, expected[:1], atol=1e-5)
    np.testing.assert_allclose(server.file(png) / 255, expected[0], atol=0.5001 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["conv5", "fc6"])
def test_a_layer_of_alexnet_is_served_completely(serve, images, png, tmp_path, layer):
    inverter = tfinvert.load(f"alexnet-{layer}-64")
    expected = inverter.reconstruct(images)
    features = inverter.feature(images).numpy()
    with serve(export_savedmodel(inverter, tmp_path / layer)) as program:
        server = Server(program)
        for request in (("serving_default", images), ("invert", features)):
            np.testing.assert_allclose(server.image(*request), expected, atol=1e-4)
        found = server.image("reconstruct_bytes", png)
        np.testing.assert_allclose(found, expected[:1], atol=1e-4)


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
def test_wrong_shapes_are_errors_and_the_server_survives(server, inverter, images, endpoint):
    good = images if endpoint == "serving_default" else inverter.feature(images).numpy()
    for shape in SHAPES.values():
        assert "is not compatible with" in server.error(endpoint, np.zeros(shape))
    found = server.image(endpoint, good)
    np.testing.assert_allclose(found, inverter.reconstruct(images), atol=1e-5)


def test_an_empty_batch_is_an_error(server, any_size_server):
    message = "a request must hold at least one image or feature"
    for each in (server, any_size_server):
        assert message in each.error("serving_default", np.zeros((0, 64, 64, 3)))
        assert message in each.error("invert", np.zeros((0, 8, 8, 31)))
        assert message in each.error("reconstruct_bytes", b"", "png_bytes", shape=(0,))


def test_numbers_that_are_not_images_or_features_are_errors(
    server, any_size_server, inverter, images
):
    features = inverter.feature(images).numpy()
    for endpoint, values, bad_numbers, message in (
        (
            "serving_default",
            images,
            (np.nan, np.inf, -np.inf, 255.0, 1e30, -1.0, -0.3, 1.3),
            "numbers in [0, 1]",
        ),
        ("invert", features, (np.nan, np.inf), "features must be finite numbers"),
    ):
        for bad in bad_numbers:
            wrong = values.copy()
            wrong[1, 3, 5, 1] = bad
            for each in (server, any_size_server):
                assert message in each.error(endpoint, wrong)


def test_garbage_bytes_are_errors_and_the_server_survives(server, inverter, images, png):
    for bad in (b"", b"not an image", b"GIF89a" + bytes(50), png[:40], png[:-100]):
        assert server.error("reconstruct_bytes", bad)
    found = server.image("reconstruct_bytes", png)
    np.testing.assert_allclose(found, inverter.reconstruct(images[:1]), atol=1e-5)


def test_a_decompression_bomb_takes_no_memory(server, png, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")  # 1.6 GB with four channels
    bomb = (tmp_path / "bomb.png").read_bytes()
    server.image("reconstruct_bytes", png)
    usual = server.program.peak_memory()
    assert "at most 16777216 pixels" in server.error("reconstruct_bytes", bomb)
    server.image("reconstruct_bytes", png)
    assert server.program.peak_memory() < usual + 0.1


def test_images_of_any_size_give_what_keras_gives(any_size_server, any_size_inverter, photo):
    large = skimage.data.coffee()[:250, :331].astype(np.float32)[np.newaxis] / 255
    small = photo[np.newaxis, :60, :41].astype(np.float32) / 255
    for images in (small, large):
        found = any_size_server.image("serving_default", images, images.shape)
        np.testing.assert_allclose(found, any_size_inverter.reconstruct(images), atol=1e-5)
    features = any_size_inverter.encode(large)
    found = any_size_server.image("invert", features, (1, 256, 336, 3))
    np.testing.assert_allclose(found, any_size_inverter.invert(features), atol=1e-5)


def test_a_jpeg_gives_a_png_of_its_size(any_size_server, any_size_inverter):
    jpeg = tf.io.encode_jpeg(skimage.data.coffee(), quality=95).numpy()
    image = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")[np.newaxis] / 255
    expected = any_size_inverter.reconstruct(tf.cast(image, tf.float32).numpy())[0]
    np.testing.assert_allclose(any_size_server.file(jpeg) / 255, expected, atol=0.501 / 255)


def test_images_that_are_too_large_or_too_small_are_errors(any_size_server, photo):
    image = photo[np.newaxis].astype(np.float32) / 255
    wide = tf.io.encode_png(np.zeros((1100, 4000, 3), np.uint8)).numpy()
    thin = tf.io.encode_png(photo[:5]).numpy()
    for request, message in (
        (("serving_default", image[:, :5]), "at least 8×8 pixels"),
        (("serving_default", np.zeros((1100, 64, 64, 3))), "at most 4194304 pixels together"),
        (("invert", np.zeros((1100, 8, 8, 31))), "at most 4194304 pixels together"),
        (("invert", np.zeros((1, 7, 8, 31))), "multiples of 2"),
        (("reconstruct_bytes", wide, "png_bytes"), "at most 4194304 pixels"),
        (("reconstruct_bytes", thin, "png_bytes"), "at least 8×8"),
    ):
        assert message in any_size_server.error(*request)
    any_size_server.image("serving_default", image)


def test_a_batch_of_too_many_images_of_one_size_is_an_error(server, png):
    message = "at most 4194304 pixels together"
    assert message in server.error("serving_default", np.zeros((1025, 64, 64, 3)))
    assert message in server.error("invert", np.zeros((1025, 8, 8, 31)))
    assert message in server.error("reconstruct_bytes", png, "png_bytes", shape=(1025,))
