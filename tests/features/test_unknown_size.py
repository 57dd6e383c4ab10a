"""HOG and LBP in graphs without static image size, as in a model server."""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from tfinvert import features


@pytest.mark.parametrize(
    "name",
    [
        "hog:cell_size=5,color=true",
        "lbp:cell_size=8",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("hog", "lbp", "lbp:cell_size=20")
        ),
    ],
)
def test_dynamic_sizes_give_the_values_of_static_sizes(name):
    compute = features.get(name).compute
    unknown = tf.function(compute, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for height, width in ((64, 64), (100, 131), (67, 301)):
        photo = skimage.data.astronaut()[:height, :width] / np.float32(255)
        images = np.stack([photo, photo[::-1]])
        expected = features.get(name, image_shape=photo.shape)(images)
        np.testing.assert_allclose(unknown(images), expected, atol=1e-6)
    assert unknown.experimental_get_tracing_count() == 1
