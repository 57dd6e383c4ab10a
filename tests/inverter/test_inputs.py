"""Images from Python: files, Pillow images, arrays and tensors, one or several."""

import pathlib

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tfinvert.data.cropping import crop_and_resize
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter

PIXELS = skimage.data.chelsea()[:70, :90]  # uint8
PHOTO = PIXELS / np.float32(255)


@pytest.fixture(scope="module")
def one_size():
    """An inverter of a user's feature, which takes 64×64 pixels only."""
    feature = HostFeature(lambda image: image[::8, ::8], (8, 8, 3), name="small")
    image = keras.layers.Conv2DTranspose(3, 8, 8)(inputs := keras.Input((8, 8, 3)))
    identity = Standardization(np.zeros(3, np.float32), np.ones(3, np.float32))
    return Inverter(feature, identity, keras.Model(inputs, image))


@pytest.fixture
def png(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_every_kind_of_image_gives_the_same_result(tiny_inverter, png):
    expected = tiny_inverter.reconstruct(PHOTO[np.newaxis])[0]
    kinds = [str(png), png, Image.open(png), PIXELS, PHOTO, PIXELS / 255]
    kinds += [keras.ops.convert_to_tensor(PHOTO)]
    for image in kinds:
        found = tiny_inverter.reconstruct(image)
        assert isinstance(found, np.ndarray) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(tiny_inverter.reconstruct([image])[0], expected, atol=1e-6)
    np.testing.assert_allclose(tiny_inverter.reconstruct(kinds), [expected] * 7, atol=1e-6)


def test_pillow_images_are_converted_as_files_are(tiny_inverter, tmp_path):
    rotated = Image.Exif()
    rotated[0x0112] = 6
    images = {
        "grey": Image.fromarray(PIXELS[..., 0]),
        "transparent": Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])),
        "palette": Image.fromarray(PIXELS).quantize(16),
        "rotated": Image.fromarray(PIXELS),
    }
    for name, image in images.items():
        path = tmp_path / f"{name}.png"
        image.save(path, exif=rotated if name == "rotated" else None)
        found = tiny_inverter.reconstruct(Image.open(path))
        assert found.shape == ((90, 70, 3) if name == "rotated" else (70, 90, 3))
        np.testing.assert_array_equal(found, tiny_inverter.reconstruct(path))


def test_one_image_or_feature_gives_one_result(tiny_inverter):
    features = tiny_inverter.encode(PHOTO)
    assert features.shape == (9, 12, 31)
    np.testing.assert_array_equal(features, tiny_inverter.encode(PHOTO[np.newaxis])[0])
    image = tiny_inverter.invert(features)
    assert image.shape == (72, 96, 3)
    np.testing.assert_array_equal(image, tiny_inverter.invert(features[np.newaxis])[0])
    assert tiny_inverter.reconstruct(PHOTO).shape == (70, 90, 3)


def test_lists(tiny_inverter, png):
    equal = tiny_inverter.reconstruct([png, PIXELS])
    assert equal.shape == (2, 70, 90, 3)
    mixed = tiny_inverter.reconstruct([png, PHOTO[:64]])
    assert [image.shape for image in mixed] == [(70, 90, 3), (64, 90, 3)]
    features = tiny_inverter.encode([png, PHOTO[:64]])
    assert [each.shape for each in features] == [(9, 12, 31), (8, 12, 31)]
    assert [image.shape for image in tiny_inverter.invert(features)] == [(72, 96, 3), (64, 96, 3)]
    assert tiny_inverter.invert([features[0]] * 2).shape == (2, 72, 96, 3)


def test_an_inverter_of_one_size_crops_files_only(one_size, png):
    crop = crop_and_resize(PIXELS, (64, 64))
    expected = one_size.reconstruct(crop)
    assert expected.shape == (64, 64, 3)
    for image in (str(png), Image.open(png), (crop * 255).round().astype(np.uint8)):
        np.testing.assert_allclose(one_size.reconstruct(image), expected, atol=1e-6)
    assert one_size.reconstruct([png, crop]).shape == (2, 64, 64, 3)
    for image in (PHOTO, PIXELS, [png, PHOTO], PHOTO[np.newaxis]):
        with pytest.raises(tfinvert.InputError, match="64, 64, 3.*or files, which are cropped"):
            one_size.reconstruct(image)
    assert one_size.invert(one_size.encode(png)).shape == (64, 64, 3)


def test_rounding_errors_beyond_the_range_are_accepted(tiny_inverter):
    beyond = np.where(PHOTO > 0.5, 1.001, -0.001).astype(np.float16)
    assert tiny_inverter.reconstruct(beyond).shape == PHOTO.shape


@pytest.mark.parametrize("name", ["reconstruct", "encode", "show"])
def test_files_that_cannot_be_read(tiny_inverter, tmp_path, name):
    (tmp_path / "text.jpg").write_text("text")
    for path, message in ((tmp_path / "text.jpg", "not a JPEG"), ("no.png", "No such file")):
        with pytest.raises(tfinvert.InputError, match=message) as error:
            getattr(tiny_inverter, name)(path)
        assert "\n" not in str(error.value) and str(pathlib.Path(path)) in str(error.value)
