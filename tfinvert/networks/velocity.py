"""The network that draws images which have a feature: a velocity field for flow matching.

Lipman et al. 2023, "Flow Matching for Generative Modeling". Noise at time 0 is carried to an image
at time 1; see `flow`. The network knows the feature and what an inverter makes of it, and adds to
what would be right for white noise. It is a U-net of gated residual blocks, as in `residual.py`;
time and, where it is a vector, the feature modulate each of them.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinvert.errors import InputError
from tfinvert.networks.blocks import conv, enlarge_grid, linear_conv, precision_scope, upconv
from tfinvert.networks.common import Feature, scale_channels

CHANNELS = (48, 96, 192)  # on grids of a half, a quarter, an eighth of the image
BLOCKS = (2, 2, 3)  # likewise; all but the last once on the way down and once on the way up
EMBEDDING = 192
FREQUENCIES = 32

_conv = functools.partial(linear_conv, initializer="lecun_normal")


@keras.saving.register_keras_serializable(package="tfinvert", name="Waves")
class FourierTimeEmbedding(keras.layers.Layer):
    """Sines and cosines of a number in [0, 1], of geometrically growing frequencies.

    Args:
      frequencies: how many; half a period to 2⁹ of them over [0, 1].
    """

    def __init__(self, frequencies: int = FREQUENCIES, **kwargs: Any):
        super().__init__(**kwargs)
        self.frequencies = frequencies

    def call(self, x: Any) -> Any:
        """`[B, 1]` becomes `[B, 2 · frequencies]`."""
        factors = np.pi * 2.0 ** np.linspace(0, 9, self.frequencies, dtype=np.float32)
        angles = ops.cast(x, "float32") * ops.convert_to_tensor(factors, "float32")
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], -1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Of the waves."""
        return (input_shape[0], 2 * self.frequencies)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "frequencies": self.frequencies}


@keras.saving.register_keras_serializable(package="tfinvert", name="Straight")
class WhiteNoiseVelocity(keras.layers.Layer):
    """The velocity where nothing is known: of noise of variance 1 to noise of variance 1.

    The mean direction of all lines from one to the other through a state x at time t is
    x (2t - 1) / (t² + (1 - t)²).
    """

    def call(self, x: Any, time: Any) -> Any:
        """`[B, h, w, 3]` at times `[B, 1]` becomes `[B, h, w, 3]`."""
        t = ops.reshape(ops.cast(time, x.dtype), (-1, 1, 1, 1))
        return x * (2 * t - 1) / (ops.square(t) + ops.square(1 - t))

    def compute_output_shape(self, x_shape: Any, time_shape: Any) -> tuple[int | None, ...]:
        """That of the state."""
        return tuple(x_shape)


def build(feature: Feature, width: float = 1.0, precision: str = "float32") -> keras.Model:
    """The velocity network for a feature, for images of the feature's size.

    Args:
      feature: its spec is the network's last input.
      width: scales the channels of every layer but the last.
      precision: as `inversion.build`.

    Returns:
      A functional model from [state `[B, h, w, 3]`, time `[B, 1]`, the inverter's image
      `[B, h, w, 3]`, standardised features] to a velocity `[B, h, w, 3]`.

    Raises:
      InputError: the sides of the images are not multiples of 8.
    """
    size = tuple(feature.image_shape[:2])
    if any(side % 8 for side in size):
        raise InputError(
            f"images are drawn at sides that are multiples of 8. Received: {size[0]}×{size[1]}"
        )
    state = keras.Input((*size, 3), name="state")
    time = keras.Input((1,), name="time")
    image = keras.Input((*size, 3), name="image")
    features = keras.Input(feature.spec.shape, name="features")
    with precision_scope(precision):
        embedding = FourierTimeEmbedding(name="waves", dtype="float32")(time)
        embedding = _dense(embedding, scale_channels(EMBEDDING, width), "time1", "silu")
        embedding = _dense(embedding, scale_channels(EMBEDDING, width), "time2", "linear")
        if len(feature.spec.shape) == 1:
            vector = _dense(features, 2 * scale_channels(EMBEDDING, width), "vector1", "silu")
            vector = _dense(vector, scale_channels(EMBEDDING, width), "vector2", "linear")
            embedding = keras.layers.Add(name="embedding_of_both")([embedding, vector])
        embedding = keras.layers.Activation("silu", name="embedding")(embedding)
        mean = keras.layers.Rescaling(4.0, -2.0, name="image_rescaled")(image)
        x = keras.layers.Concatenate(name="pixels")([state, mean])
        x, down = _conv(x, scale_channels(CHANNELS[0], width), 4, "down1", strides=2), []
        for level, blocks in enumerate(BLOCKS[:-1], 1):
            for i in range(1, blocks + 1):
                x = _block(x, embedding, f"down{level}_block{i}")
            down.append(x)
            x = _conv(x, scale_channels(CHANNELS[level], width), 4, f"down{level + 1}", strides=2)
        if len(feature.spec.shape) == 3:
            given = _on_grid(features, tuple(x.shape[1:3]), x.shape[-1])
            x = keras.layers.Add(name="with_features")([x, given])
        for i in range(1, BLOCKS[-1] + 1):
            x = _block(x, embedding, f"middle_block{i}", context=True)
        for level in range(len(BLOCKS) - 1, 0, -1):
            channels = scale_channels(CHANNELS[level - 1], width)
            x = keras.layers.Conv2DTranspose(
                channels, 4, 2, "same", kernel_initializer=_halved(), name=f"up{level}"
            )(x)
            x = keras.layers.Concatenate(name=f"up{level}_both")([x, down.pop()])
            x = _conv(x, channels, 1, f"up{level}_merged")
            for i in range(1, BLOCKS[level - 1] + 1):
                x = _block(x, embedding, f"up{level}_block{i}")
        x = _modulated(x, embedding, "last")
        x = keras.layers.Conv2DTranspose(
            3, 6, 2, "same", kernel_initializer="zeros", name="velocity", dtype="float32"
        )(x)
        straight = WhiteNoiseVelocity(name="straight", dtype="float32")(state, time)
        x = keras.layers.Add(name="velocity_in_all", dtype="float32")([straight, x])
    inputs = [state, time, image, features]
    return keras.Model(inputs, x, name=f"draw_{feature.name.replace('/', '_')}")


def _block(
    x: keras.KerasTensor, embedding: keras.KerasTensor, name: str, context: bool = False
) -> keras.KerasTensor:
    """Adds what one convolution finds and another lets pass."""
    channels = x.shape[-1]
    inner = _modulated(x, embedding, name)
    values = _conv(inner, channels, 3, f"{name}_values")
    gates = _conv(inner, channels, 1, f"{name}_gates")
    if context:
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(inner)
        values, gates = (
            keras.layers.Add(name=f"{name}_{which}_in_context")(
                [each, _conv(mean, channels, 1, f"{name}_around_{which}", initializer="zeros")]
            )
            for which, each in (("values", values), ("gates", gates))
        )
    gates = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gates)
    inner = keras.layers.Multiply(name=f"{name}_gated")([values, gates])
    inner = _conv(inner, channels, 3, f"{name}_out", initializer="zeros")
    return keras.layers.Add(name=name)([x, inner])


def _modulated(x: keras.KerasTensor, embedding: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Normalised over a pixel's channels, then scaled, shifted and through a SiLU."""
    channels = x.shape[-1]
    x = keras.layers.LayerNormalization(
        epsilon=1e-5, center=False, scale=False, name=f"{name}_normal"
    )(x)
    parts = []
    for which, bias in (("scale", "ones"), ("shift", "zeros")):
        part = keras.layers.Dense(
            channels, kernel_initializer="zeros", bias_initializer=bias, name=f"{name}_{which}"
        )(embedding)
        parts.append(keras.layers.Reshape((1, 1, channels), name=f"{name}_{which}_cell")(part))
    x = keras.layers.Multiply(name=f"{name}_scaled")([x, parts[0]])
    x = keras.layers.Add(name=f"{name}_shifted")([x, parts[1]])
    return keras.layers.Activation("silu", name=f"{name}_silu")(x)


def _on_grid(x: keras.KerasTensor, grid: tuple[int, int], channels: int) -> keras.KerasTensor:
    """A feature's grid on another: doubled while that fits, then enlarged."""
    x = conv(x, channels, 3, "features_conv")
    if tuple(x.shape[1:3]) == grid:
        return _conv(x, channels, 3, "features_on_grid")
    rows, columns = x.shape[1:3]
    doublings = math.floor(math.log2(max(1.0, min(grid[0] / rows, grid[1] / columns))))
    start = (grid[0] >> doublings, grid[1] >> doublings)
    whole = all(side % (1 << doublings) == 0 for side in grid)
    if not whole or rows > start[0] or columns > start[1]:
        # Finer than the grid, or no doubling of it: what is near each cell.
        x = keras.layers.Resizing(*grid, name="features_resized", dtype="float32")(x)
        return _conv(x, channels, 3, "features_on_grid")
    if start != tuple(x.shape[1:3]):
        x = enlarge_grid(x, channels, start, "features_enlarge")
    for i in range(1, doublings + 1):
        x = upconv(x, channels, 4, f"features_upconv{i}")
    return _conv(x, channels, 3, "features_on_grid")


def _halved() -> keras.initializers.Initializer:
    # Of an up-convolution of 4×4 by 2: four taps meet a value.
    return keras.initializers.VarianceScaling(4.0, "fan_out", "truncated_normal")


def _dense(x: keras.KerasTensor, units: int, name: str, activation: str) -> keras.KerasTensor:
    return keras.layers.Dense(units, activation, kernel_initializer="he_normal", name=name)(x)
