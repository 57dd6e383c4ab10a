"""Layers of published networks beside Keras' own; pure Keras, so they run on each backend."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tfinvert.errors import InputError


class Preprocessing(NamedTuple):
    """What a network was trained to see: `value * scale + offset` for each channel of [0, 1].

    Attributes:
      order: "RGB" or "BGR".
      scale: for each channel, in that order.
      offset: likewise.
    """

    order: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


def _normalized(mean: Sequence[float], deviation: Sequence[float]) -> Preprocessing:
    """What becomes zero on average with a deviation of one, of the channels of [0, 1]."""
    pairs = zip(mean, deviation, strict=True)
    scale, offset = zip(*((1.0 / each, -middle / each) for middle, each in pairs), strict=True)
    return Preprocessing("RGB", scale, offset)


PREPROCESSING = {
    "unit": Preprocessing("RGB", (1.0,) * 3, (0.0,) * 3),
    "bytes": Preprocessing("RGB", (255.0,) * 3, (0.0,) * 3),
    "tf": Preprocessing("RGB", (2.0,) * 3, (-1.0,) * 3),
    "torch": _normalized((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("BGR", (255.0,) * 3, (-103.939, -116.779, -123.68)),
    "caffe_rounded": Preprocessing("BGR", (255.0,) * 3, (-104.0, -117.0, -123.0)),
    "clip": _normalized((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "lite": Preprocessing("RGB", (255 / 128,) * 3, (-127 / 128,) * 3),
}


@keras.saving.register_keras_serializable(package="tfinvert")
class Preprocess(keras.layers.Layer):
    """RGB images in [0, 1] to what a network takes: its size, its channel order, its range.

    Args:
      size: (height, width) the network takes; bilinear, with antialiasing where it shrinks.
      kind: a key of `PREPROCESSING`.
    """

    def __init__(self, size: Sequence[int], kind: str, **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in PREPROCESSING:
            raise InputError(
                f"unknown preprocessing {kind!r}; there are: {', '.join(PREPROCESSING)}"
            )
        self.size, self.kind = tuple(size), kind

    def shrinks(self, shape: Sequence[int | None]) -> bool:
        """Whether images of that shape, `[B, H, W, 3]`, are made smaller."""
        return any(own < side for own, side in zip(self.size, shape[1:3], strict=True))

    def call(self, images: Any) -> Any:
        """`[B, H, W, 3]` in [0, 1] becomes `[B, *size, 3]`."""
        preprocessing = PREPROCESSING[self.kind]
        if tuple(images.shape[1:3]) != self.size:
            # Antialiasing changes nothing where images grow, and XLA cannot compile it.
            images = ops.image.resize(images, self.size, antialias=self.shrinks(images.shape))
        if preprocessing.order == "BGR":
            images = ops.flip(images, axis=-1)
        scale, offset = (ops.convert_to_tensor(x, images.dtype) for x in preprocessing[1:])
        return images * scale + offset

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The network's input."""
        return (input_shape[0], *self.size, 3)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "size": list(self.size), "kind": self.kind}


@keras.saving.register_keras_serializable(package="tfinvert")
class LocalResponseNormalization(keras.layers.Layer):
    """Each value over (k + α/n · Σ x²)^β of the n channels around it, as Caffe defines it.

    Caffe divides α by the size, which TensorFlow's own `local_response_normalization` does not.

    Args:
      size: n, how many channels, odd.
      alpha: α, before the division.
      beta: β.
      k: what is added before the power.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def call(self, x: Any) -> Any:
        """`[B, H, W, C]` to the same shape."""
        radius, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (radius, radius)])
        total = sum(squares[..., i : i + channels] for i in range(self.size))
        return x / ops.power(self.k + self.alpha / self.size * total, self.beta)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """That of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tfinvert")
class GroupedConv2D(keras.layers.Conv2D):
    """A convolution in groups, computed as one convolution for each group.

    Keras' own `Conv2D(groups=2)` takes XLA on a CPU, which not every server has.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution before bias and activation."""
        pairs = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        return ops.concatenate(
            [super(GroupedConv2D, self).convolution_op(x, k) for x, k in pairs], -1
        )


def ceil_max_pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Max pooling 3/2 that keeps the last, partial window, as Caffe does, of values from 0 up."""
    missing = [(0, (side - 3) % 2) for side in x.shape[1:3]]
    if any(more for _, more in missing):
        x = keras.layers.ZeroPadding2D(missing, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)
