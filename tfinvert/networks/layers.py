"""Keras layers that published encoders need and Keras lacks; they run on every Keras backend."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tfinvert.errors import InputError


class Preprocessing(NamedTuple):
    """A network's input normalisation: `value * scale + offset` per channel, from [0, 1].

    Attributes:
      order: channel order, "RGB" or "BGR".
      scale: scale per channel, in that order.
      offset: offset per channel, in that order.
    """

    order: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


def _zero_mean_unit_variance(means: Sequence[float], stds: Sequence[float]) -> Preprocessing:
    """Normalises by mean and standard deviation per channel, both of values in [0, 1]."""
    pairs = zip(means, stds, strict=True)
    scale, offset = zip(*((1.0 / std, -mean / std) for mean, std in pairs), strict=True)
    return Preprocessing("RGB", scale, offset)


PREPROCESSING = {
    "unit": Preprocessing("RGB", (1.0,) * 3, (0.0,) * 3),
    "bytes": Preprocessing("RGB", (255.0,) * 3, (0.0,) * 3),
    "tf": Preprocessing("RGB", (2.0,) * 3, (-1.0,) * 3),
    "torch": _zero_mean_unit_variance((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("BGR", (255.0,) * 3, (-103.939, -116.779, -123.68)),
    "caffe_rounded": Preprocessing("BGR", (255.0,) * 3, (-104.0, -117.0, -123.0)),
    "clip": _zero_mean_unit_variance(
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    "lite": Preprocessing("RGB", (255 / 128,) * 3, (-127 / 128,) * 3),
}


@keras.saving.register_keras_serializable(package="tfinvert")
class Preprocess(keras.layers.Layer):
    """Converts RGB images in [0, 1] to a network's input size, channel order and value range.

    Args:
      size: (height, width) of the output, in pixels. Resizing is bilinear, with antialiasing when
        images shrink.
      kind: a key of `PREPROCESSING`.
    """

    def __init__(self, size: Sequence[int], kind: str, **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in PREPROCESSING:
            raise InputError(
                f"unknown preprocessing; choose one of {', '.join(PREPROCESSING)}. "
                f"Received: {kind!r}"
            )
        self.size, self.kind = tuple(size), kind

    def shrinks(self, shape: Sequence[int | None]) -> bool:
        """Returns whether images of shape `[B, H, W, 3]` are reduced in height or width."""
        return any(target < side for target, side in zip(self.size, shape[1:3], strict=True))

    def call(self, images: Any) -> Any:
        """Maps images `[B, H, W, 3]` in [0, 1] to `[B, *size, 3]`."""
        preprocessing = PREPROCESSING[self.kind]
        if tuple(images.shape[1:3]) != self.size:
            # Antialiasing has no effect when images grow, and XLA cannot compile it.
            antialias = self.shrinks(images.shape)
            images = ops.image.resize(
                images, self.size, antialias=antialias, data_format="channels_last"
            )
        if preprocessing.order == "BGR":
            images = ops.flip(images, axis=-1)
        scale, offset = (ops.convert_to_tensor(x, images.dtype) for x in preprocessing[1:])
        return images * scale + offset

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the network's input."""
        return (input_shape[0], *self.size, 3)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's constructor arguments."""
        return {**super().get_config(), "size": list(self.size), "kind": self.kind}


@keras.saving.register_keras_serializable(package="tfinvert")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation across channels, as Caffe defines it.

    Divides each value by (k + α/n · Σ x²)^β, where the sum runs over the n channels around it.
    Caffe divides α by n; TensorFlow's `local_response_normalization` does not.

    Args:
      size: n, the number of channels in the sum; odd.
      alpha: α, before the division by n.
      beta: β, the exponent.
      k: k, the additive constant.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def call(self, x: Any) -> Any:
        """Normalises `[B, H, W, C]`; the shape stays as it is."""
        radius, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (radius, radius)])
        total = sum(squares[..., i : i + channels] for i in range(self.size))
        return x / ops.power(self.k + self.alpha / self.size * total, self.beta)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's constructor arguments."""
        arguments = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **arguments}


@keras.saving.register_keras_serializable(package="tfinvert")
class GroupedConv2D(keras.layers.Conv2D):
    """A grouped convolution, computed as a separate convolution for each group.

    On a CPU, Keras' `Conv2D(groups=2)` requires XLA, which not every model server has.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Applies the convolution, before bias and activation."""
        pairs = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        return ops.concatenate(
            [super(GroupedConv2D, self).convolution_op(x, k) for x, k in pairs], -1
        )


def ceil_max_pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Applies 3×3 max pooling of stride 2 that keeps a partial last window, as Caffe does.

    Args:
      x: `[B, H, W, C]`, not negative, because the partial window is padded with zeros.
      name: name of the pooling layer.
    """
    padding = [(0, (side - 3) % 2) for side in x.shape[1:3]]
    if any(after for _, after in padding):
        x = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)
