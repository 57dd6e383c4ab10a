"""The exported model in a process without Python, on TensorFlow's C API as a model server uses."""

import c_program
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import tfinvert
from tfinvert.serving import export_savedmodel


class Served:
    """Asks one process, and takes its answers apart."""

    def __init__(self, program, model):
        self.program, self.model = c_program.Program(program, model), model

    def __enter__(self):
        self.program.__enter__()
        return self

    def __exit__(self, *error):
        self.program.__exit__(*error)

    def ask(self, endpoint, value, output="reconstruction", **shape):
        return self.program.ask(c_program.request(self.model, endpoint, value, output, **shape))

    def image(self, endpoint, value, shape=(-1, 64, 64, 3)):
        data, error = self.ask(endpoint, value)
        assert not error
        return np.frombuffer(data, "<f4").reshape(shape)

    def file(self, value):
        data, error = self.ask("reconstruct_bytes", value, "png_bytes")
        assert not error
        return tf.io.decode_png(data).numpy()

    def error(self, *request, **shape):
        data, error = self.ask(*request, **shape)
        assert data is None
        return error


@pytest.fixture(scope="module")
def server(program, model):
    with Served(program, model) as served:
        yield served


@pytest.fixture(scope="module")
def free_server(program, free_model):
    with Served(program, free_model) as served:
        yield served


@pytest.fixture
def images(photo):
    return np.stack([photo, photo[:, ::-1]]).astype(np.float32) / 255


@pytest.fixture
def png(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


def test_images_and_features_give_what_keras_gives(server, inverter, images):
    expected = inverter.reconstruct(images)
    assert expected.std() > 0.02
    found = server.image("serving_default", images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = server.image("invert", inverter.feature(images).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layer", ["conv5", "fc6"])
def test_a_layer_of_alexnet_is_served_whole(program, images, png, tmp_path, layer):
    inverter = tfinvert.load(f"alexnet-{layer}-64")
    expected = inverter.reconstruct(images)
    features = inverter.feature(images).numpy()
    with Served(program, export_savedmodel(inverter, tmp_path / layer)) as server:
        for request in (("serving_default", images), ("invert", features)):
            np.testing.assert_allclose(server.image(*request), expected, atol=1e-4)
        found = server.image("reconstruct_bytes", png)
        np.testing.assert_allclose(found, expected[:1], atol=1e-4)


def test_png_bytes_give_what_keras_gives(server, inverter, images, png):
    expected = inverter.reconstruct(images[:1])
    found = server.image("reconstruct_bytes", png)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(server.file(png) / 255, expected[0], atol=0.5001 / 255)


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
    for shape in SHAPES.values():
        assert "is not compatible with" in server.error(endpoint, np.zeros(shape))
    found = server.image(endpoint, good)
    np.testing.assert_allclose(found, inverter.reconstruct(images), atol=1e-5)


def test_an_empty_batch_is_an_error_that_says_so(server, free_server):
    for asked, feature in ((server, (0, 8, 8, 31)), (free_server, (0, 8, 8, 31))):
        message = "a request holds at least one image or feature"
        assert message in asked.error("serving_default", np.zeros((0, 64, 64, 3)))
        assert message in asked.error("invert", np.zeros(feature))
        assert message in asked.error("reconstruct_bytes", b"", "png_bytes", shape=(0,))


def test_numbers_that_are_no_images_or_features_are_errors(server, free_server, inverter, images):
    for bad in (np.nan, np.inf, -np.inf, 255.0, 1e30):
        wrong = images.copy()
        wrong[1, 3, 5, 1] = bad
        for asked in (server, free_server):
            assert "hold numbers in [0, 1]" in asked.error("serving_default", wrong)
    features = inverter.feature(images).numpy()
    for bad in (np.nan, np.inf):
        wrong = features.copy()
        wrong[1, 3, 5, 1] = bad
        for asked in (server, free_server):
            assert "features are finite numbers" in asked.error("invert", wrong)


def test_garbage_bytes_are_errors_and_the_process_lives(server, inverter, images, png):
    for bad in (b"", b"no image at all", b"GIF89a" + bytes(50), png[:40], png[:-100]):
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


def test_images_of_any_size_give_what_keras_gives(free_server, free_inverter, photo):
    large = skimage.data.coffee()[:250, :331].astype(np.float32)[np.newaxis] / 255
    small = photo[np.newaxis, :60, :41].astype(np.float32) / 255
    for images in (small, large):
        found = free_server.image("serving_default", images, images.shape)
        np.testing.assert_allclose(found, free_inverter.reconstruct(images), atol=1e-5)
    features = free_inverter.encode(large)
    found = free_server.image("invert", features, (1, 256, 336, 3))
    np.testing.assert_allclose(found, free_inverter.invert(features), atol=1e-5)


def test_a_jpeg_gives_a_png_of_its_size(free_server, free_inverter):
    jpeg = tf.io.encode_jpeg(skimage.data.coffee(), quality=95).numpy()
    image = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")[np.newaxis] / 255
    expected = free_inverter.reconstruct(tf.cast(image, tf.float32).numpy())[0]
    np.testing.assert_allclose(free_server.file(jpeg) / 255, expected, atol=0.501 / 255)


def test_what_is_too_large_or_small_is_an_error_and_the_process_lives(free_server, photo):
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
        assert message in free_server.error(*request)
    free_server.image("serving_default", image)


def test_a_batch_of_too_many_of_one_size_is_an_error_too(server, png):
    message = "at most 4194304 pixels together"
    assert message in server.error("serving_default", np.zeros((1025, 64, 64, 3)))
    assert message in server.error("invert", np.zeros((1025, 8, 8, 31)))
    assert message in server.error("reconstruct_bytes", png, "png_bytes", shape=(1025,))
