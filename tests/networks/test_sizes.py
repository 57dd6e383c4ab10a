"""Receptive field, total stride and input size of inversion networks."""

import types

import keras
import numpy as np
import pytest

from tfinvert.networks import inversion, sizes


def build(decoder, side, network="paper"):
    feature = types.SimpleNamespace(
        name="feature",
        image_shape=(8 * side, 8 * side, 3),
        spec=types.SimpleNamespace(shape=(side, side, 4)),
        decoder=decoder,
    )
    return inversion.build(feature, width=0.02, network=network)


@pytest.mark.parametrize(
    ("decoder", "side", "network", "radius", "stride"),
    [
        ("two_stream", 8, "paper", 12, 2),
        ("two_stream", 32, "paper", 38, 8),
        ("one_stream", 16, "paper", 20, 4),
        ("one_stream", 64, "paper", 80, 16),
        ("two_stream", 8, "residual", 26, 1),
        ("one_stream", 16, "residual", 54, 2),
    ],
)
def test_radius_and_stride(decoder, side, network, radius, stride):
    model = build(decoder, side, network)
    restored = keras.models.model_from_json(model.to_json())
    other_size = sizes.with_input_size(model, (None, None))
    for each in (model, restored, other_size, model):  # layers are shared with `other_size` now
        assert sizes.receptive_field_radius(each) == radius
        assert sizes.total_stride(each) == stride
        assert sizes.accepts_any_size(each)


def test_radius_in_rows_and_columns_of_parallel_paths():
    inputs = keras.Input((None, None, 2))
    wide = keras.layers.AveragePooling2D((1, 9), 1, "same")(inputs)  # radius 4
    narrow = keras.layers.Conv2D(2, 3, padding="same")(inputs)  # radius 1
    x = keras.layers.Add()([wide, narrow])
    x = keras.layers.Conv2D(2, 4, 2, "same")(x)  # radius 3; a step is 2 cells now
    x = keras.layers.Conv2D(2, 3, padding="same")(x)  # radius 2
    assert sizes.receptive_field_radius(keras.Model(inputs, x)) == 4 + 3 + 2


def test_with_input_size_shares_the_weights():
    model = build("two_stream", 8)
    larger = sizes.with_input_size(model, (16, 24))
    assert larger.output_shape == (None, 128, 192, 3)
    assert all(a is b for a, b in zip(model.weights, larger.weights, strict=True))


def test_odd_grids_are_cropped_and_need_their_size():
    assert not sizes.accepts_any_size(build("two_stream", 25))


def test_nothing_beyond_the_radius_influences_a_pixel():
    model = build("two_stream", 64, "residual")
    for variable in model.weights:  # the blocks are the identity at first
        variable.assign(np.full(variable.shape, 0.1))
    grid = np.zeros((1, 64, 64, 4), "f4")
    output = model(grid).numpy()[0]
    grid[0, 32, 32] = 100.0
    changed = np.flatnonzero(np.any(model(grid).numpy()[0] != output, (1, 2))) // 8
    assert len(changed) and abs(changed - 32).max() <= sizes.receptive_field_radius(model)
