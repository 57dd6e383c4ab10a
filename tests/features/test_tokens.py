"""Token outputs as a grid or a class token, against the convolution that produced them."""

import keras
import numpy as np
import pytest

from tfinvert import features
from tfinvert.errors import InputError

PATCH, CHANNELS = 8, 5


def transformer(height, width, prefix):
    """A model with patch tokens after `prefix` zero tokens, and a bias that varies by token."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((height, width, 3))
    x = keras.layers.Conv2D(CHANNELS, PATCH, PATCH, name="patches")(inputs)
    x = keras.layers.Reshape((-1, CHANNELS), name="flat")(x)
    x = keras.layers.ZeroPadding1D((prefix, 0), name="prefixed")(x)
    last = keras.layers.LayerNormalization(axis=(1, 2), beta_initializer="normal", name="last")
    x = keras.layers.Flatten(name="vector")(last(x))
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns the path of a saved `transformer` by its arguments."""
    folder = tmp_path_factory.mktemp("transformers")

    def path(*size):
        file = folder / f"{'_'.join(map(str, size))}.keras"
        if not file.exists():
            transformer(*size).save(file)
        return str(file)

    return path


def tap(layer, path, size, **options):
    return features.get(f"keras/{layer}", image_shape=(*size, 3), model=path, **options)


@pytest.mark.parametrize(
    ("size", "prefix", "options", "grid"),
    [
        ((32, 32), 0, {}, (4, 4)),
        ((32, 32), 1, {}, (4, 4)),  # zero or one is inferred
        ((32, 32), 5, {"prefix": 5}, (4, 4)),  # a class token and four register tokens
        ((32, 48), 1, {}, (4, 6)),
        ((72, 24), 0, {}, (9, 3)),
        ((39, 60), 1, {"prefix": 1}, (4, 7)),  # partial patches at the edges are ignored
    ],
)
def test_grid_equals_the_patches(saved, size, prefix, options, grid):
    path = saved(*size, prefix)
    images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
    found = tap("prefixed", path, size, **options)
    assert found.spec.shape == (*grid, CHANNELS) and found.decoder == "convolutional"
    np.testing.assert_allclose(found(images), tap("patches", path, size)(images), atol=1e-6)


def test_class_is_the_first_token(saved):
    path, size = saved(32, 32, 1), (32, 32)
    images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
    found = tap("last", path, size, tokens="class")
    assert found.spec.shape == (CHANNELS,) and found.decoder == "fully_connected"
    whole = tap("vector", path, size)(images).numpy()
    np.testing.assert_allclose(found(images), whole[:, :CHANNELS], atol=1e-6)
    grid = tap("last", path, size)(images).numpy()
    np.testing.assert_allclose(grid.reshape(2, -1), whole[:, CHANNELS:], atol=1e-6)


def test_rebuilding_from_the_description(saved):
    found = tap("last", saved(32, 32, 5), (32, 32), tokens="class", prefix=5)
    again = features.from_description(features.describe(found))
    assert again.identity() == found.identity()
    named = f"keras/last:model={saved(32, 32, 5)},tokens=class,prefix=5"
    assert features.get(named, image_shape=(32, 32, 3)).identity() == found.identity()
    assert tap("last", saved(32, 32, 5), (32, 32), prefix=5).identity() != found.identity()


@pytest.mark.parametrize(
    ("layer", "prefix", "options", "words"),
    [
        (
            "last",
            2,
            {},
            "outputs 18 tokens, which with zero or one before the patch tokens do not form a grid",
        ),
        (
            "last",
            2,
            {"prefix": 1},
            "18 tokens, which with 1 before the patch tokens do not form a grid",
        ),
        (
            "last",
            2,
            {"prefix": 18},
            "18 tokens, which with 18 before the patch tokens do not form a grid",
        ),
        ("last", 2, {"prefix": -2}, "prefix=-2"),
        ("last", 2, {"tokens": "mean"}, "tokens must be grid or class"),
        ("last", 0, {"tokens": "class"}, "has no class token: all 16 tokens are patches, 4×4"),
        ("vector", 2, {"tokens": "class"}, "keras/vector outputs no tokens"),
        ("last", 2, {"tokens": 1}, "invalid options of keras/last; the options are"),
    ],
)
def test_invalid_tokens(saved, layer, prefix, options, words):
    with pytest.raises(InputError) as caught:
        tap(layer, saved(32, 32, prefix), (32, 32), **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
