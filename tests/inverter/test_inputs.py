"""Images from Python: files, Pillow images, arrays and tensors, one or several."""

import pathlib

import cv2
import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

import tfinvert
from tests.refusals import refused
from tfinvert.data.cropping import crop_and_resize
from tfinvert.features import HostFeature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import UncertaintyHead, build_head

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


def test_what_resampling_overshoots_is_accepted(tiny_inverter):
    photo = skimage.data.coffee() / np.float32(255)
    for kind in (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4):
        image = cv2.resize(photo, None, fx=1.7, fy=1.7, interpolation=kind)
        assert image.min() < -0.1 and image.max() > 1.1
        part = image[340:440, 480:600]
        assert tiny_inverter.reconstruct(part + image.max() - part.max()).shape == part.shape


@pytest.mark.parametrize("name", ["reconstruct", "encode", "show"])
@pytest.mark.parametrize(
    ("image", "word"),
    [
        (PHOTO * 255, "from "),
        (PHOTO * 2 - 1, "from -"),
        (np.where(PHOTO > 0.8, np.nan, PHOTO), "NaN"),
        (np.where(PHOTO > 0.8, -np.inf, PHOTO), "infinite"),
        (PIXELS.astype(np.int64), "int64"),
        (PIXELS > 80, "bool"),
        (np.array([]), "(0,)"),
        (np.zeros((0, 70, 3)), "(0, 70, 3)"),
        (PHOTO[:4], "(4, 90, 3)"),
        ([], "empty"),
        (None, "NoneType"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tiny_inverter, name, image, word):
    refused(lambda: getattr(tiny_inverter, name)(image), "Received: ", word)


def test_other_floating_point_types_are_taken(tiny_inverter):
    expected = tiny_inverter.reconstruct(PHOTO)
    kinds = [PHOTO.astype(np.longdouble), PHOTO.astype(np.float64)]
    for image in [*kinds, keras.ops.cast(PHOTO, "float64")]:
        np.testing.assert_allclose(tiny_inverter.reconstruct(image), expected, atol=1e-6)
    for image in (PHOTO.astype(np.float16), keras.ops.cast(PHOTO, "bfloat16")):
        np.testing.assert_allclose(tiny_inverter.reconstruct(image), expected, atol=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(tiny_inverter, value):
    features = tiny_inverter.encode([PHOTO] * 3)
    features[1, 2, 3, 4] = value
    refused(lambda: tiny_inverter.invert(features), "finite", "feature 1 of 3")
    refused(lambda: tiny_inverter.invert([*features]), "finite")


@pytest.mark.parametrize("features", ["photo.png", pathlib.Path("photo.png"), [["a"]], PIXELS])
def test_invert_refuses_images(tiny_inverter, features):
    refused(lambda: tiny_inverter.invert(features), "features of hog")


def test_uncertainty_takes_images_too(tiny_inverter, png):
    parts = tiny_inverter.feature, tiny_inverter.standardization, tiny_inverter.network
    head = UncertaintyHead(build_head(tiny_inverter.network), np.ones(3, np.float32))
    inverter = Inverter(*parts, uncertainty_head=head)
    expected = inverter.uncertainty(inverter.encode(PHOTO))[:70, :90]
    for image in (png, str(png), Image.open(png), PIXELS, PHOTO):
        found = inverter.uncertainty(image)
        assert found.shape == (70, 90, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert inverter.uncertainty([png, PHOTO]).shape == (2, 70, 90, 3)
    assert inverter.uncertainty(PHOTO[np.newaxis], along="axes").shape == (1, 70, 90, 3)


@pytest.mark.parametrize("name", ["reconstruct", "encode", "show"])
def test_files_that_cannot_be_read(tiny_inverter, tmp_path, name):
    (tmp_path / "text.jpg").write_text("text")
    for path, message in ((tmp_path / "text.jpg", "not a JPEG"), ("no.png", "No such file")):
        with pytest.raises(tfinvert.InputError, match=message) as error:
            getattr(tiny_inverter, name)(path)
        assert "\n" not in str(error.value) and str(pathlib.Path(path)) in str(error.value)
