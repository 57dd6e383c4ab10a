"""The base class of features: receptive fields of users' own classes."""

import pytest
import tensorflow as tf

from tfinvert.features import Feature


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
