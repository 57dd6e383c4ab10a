"""The discriminator's score maps: their sizes, dependencies and precision."""

import types

import keras
import numpy as np
import pytest

from tfinvert.networks import discriminator


def build(shape, size, **options):
    feature = types.SimpleNamespace(name="some/layer", spec=types.SimpleNamespace(shape=shape))
    keras.utils.set_random_seed(0)
    return discriminator.build(feature, size, width=0.125, **options)


@pytest.mark.parametrize(
    ("shape", "size", "maps"),
    [
        ((8, 8, 31), (64, 64), [(8, 8)]),  # hog
        ((8, 16, 31), (64, 128), [(8, 16)]),
        ((6, 6, 256), (192, 192), [(24, 24), (6, 6)]),  # conv5
        ((13, 13, 384), (64, 64), [(16, 16)]),  # conv3 of thumbnails
        ((1024,), (64, 64), [(8, 8), (4, 4)]),  # fc6
        ((2, 2, 3), (4, 4), [(2, 2)]),
    ],
)
def test_sizes_of_the_score_maps(shape, size, maps):
    model = build(shape, size)
    assert [tuple(each.shape[1:]) for each in model.outputs] == [(*grid, 1) for grid in maps]


def score_maps(model, *inputs):
    return [np.asarray(x) for x in keras.tree.flatten(model(inputs))]


def test_only_the_coarse_map_depends_on_the_feature():
    model = build((10,), (64, 64))
    random = np.random.default_rng(0)
    images = random.random((2, 64, 64, 3), np.float32)
    features = random.standard_normal((2, 10), np.float32)
    fine, coarse = score_maps(model, images, features)
    others = score_maps(model, images, features[::-1])
    np.testing.assert_array_equal(fine, others[0])
    assert np.abs(coarse - others[1]).max() > 1e-3
    assert np.abs(fine - score_maps(model, images[::-1], features)[0]).max() > 1e-3


def test_scores_are_local():
    model = build((8, 8, 4), (64, 64))
    images, features = np.zeros((1, 64, 64, 3), np.float32), np.zeros((1, 8, 8, 4), np.float32)
    other = images.copy()
    other[:, :8, :8] = 1
    (before,), (after,) = (score_maps(model, x, features) for x in (images, other))
    assert np.abs(before - after)[:, :2, :2].max() > 1e-3
    np.testing.assert_allclose(before[:, 5:, 5:], after[:, 5:, 5:], atol=1e-6)


def test_mixed_precision_has_float32_weights_and_scores():
    model = build((10,), (64, 64), precision="bfloat16")
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert {output.dtype for output in model.outputs} == {"float32"}
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
