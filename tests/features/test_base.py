"""The base class of features: images as people have them, and users' own classes."""

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from tests.refusals import refused
from tfinvert.data.cropping import crop_and_resize
from tfinvert.features import Feature, HostFeature

PIXELS = skimage.data.chelsea()[:70, :90]  # uint8
CROP = crop_and_resize(PIXELS, (64, 64))


class RowMeans(Feature):
    name = "row_means"

    @property
    def spec(self):
        return tf.TensorSpec((self.image_shape[0], 3), tf.float32)

    def compute(self, images):
        return tf.reduce_mean(images, 2)


def test_the_receptive_field_of_a_feature_is_unknown_by_default():
    assert RowMeans().receptive_field_radius is None


def test_the_former_attribute_reach_is_deprecated_and_still_works():
    with pytest.warns(DeprecationWarning, match="reach is now called receptive_field_radius"):

        class Old(RowMeans):
            reach = 3

    assert Old().receptive_field_radius == 3


@pytest.fixture(params=["tensor", "host"])
def feature(request):
    if request.param == "tensor":
        return RowMeans()
    return HostFeature(lambda image: image.mean(1), (64, 3), name="row_means")


def test_every_kind_of_image_gives_the_same_feature(feature, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "cat.png")
    expected = CROP.mean(1)
    small = np.uint8(np.rint(255 * CROP))
    files = [tmp_path / "cat.png", str(tmp_path / "cat.png"), Image.fromarray(PIXELS)]
    arrays = [CROP, CROP.astype(np.float64), CROP.astype(np.longdouble), small]
    tensors = [keras.ops.convert_to_tensor(CROP), keras.ops.convert_to_tensor(small)]
    for image in [*files, *arrays, *tensors]:
        found = feature(image)
        assert keras.ops.is_tensor(found) and tuple(found.shape) == (64, 3)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(feature([*files, *arrays]), [expected] * 7, atol=1e-6)
    np.testing.assert_allclose(feature(small[np.newaxis]), [expected], atol=1e-6)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (255 * CROP, ["from ", "[0, 1]"]),
        (2 * CROP - 1, ["from -"]),
        (keras.ops.convert_to_tensor(2 * CROP - 1), ["from -"]),
        (np.full((1, 64, 64, 3), np.nan), ["NaN"]),
        (np.zeros((64, 64, 3), np.int32), ["int32"]),
        (np.zeros((64, 64, 3), complex), ["complex"]),
        (PIXELS, ["(1, 70, 90, 3)"]),
        ([CROP, CROP[:32]], ["one shape"]),
        ([], ["empty"]),
        (np.array([]), ["(0,)"]),
        ("nothing.png", ["No such file"]),
        (None, ["object"]),
    ],
)
def test_what_is_no_image_is_refused(feature, images, words):
    refused(lambda: feature(images), *words)


def test_graphs_take_8_bit_images():
    @tf.function(input_signature=[tf.TensorSpec((None, 64, 64, 3), tf.uint8)])
    def compute(images):
        return RowMeans()(images)

    np.testing.assert_allclose(compute(np.uint8(255 * CROP)[None])[0], CROP.mean(1), atol=5e-3)
