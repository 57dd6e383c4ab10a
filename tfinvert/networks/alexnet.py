"""AlexNet in its three published variants, with the published layer names.

Krizhevsky, Sutskever & Hinton 2012. Weights are not interchangeable between variants, even where
all shapes agree, so the variant is always named (see `tfinvert.networks.weights`).
"""

import dataclasses

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import (
    GroupedConv2D,
    LocalResponseNormalization,
    Preprocess,
    ceil_max_pool,
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """The architecture of one AlexNet variant.

    Attributes:
      widths: output channels of conv1 … conv5.
      groups: convolution groups of conv1 … conv5.
      padding: zero padding of the input of conv1, in pixels.
      input_size: side of the square training images, in pixels.
      preprocessing: a key of `layers.PREPROCESSING`.
      after_conv: operations after the ReLU of conv1 and of conv2, each "pool" or "norm".
      ceil: whether pooling keeps a partial last window.
      outputs: for each layer of the paper, the Keras layer of its "last processing step".
    """

    widths: tuple[int, int, int, int, int]
    groups: tuple[int, int, int, int, int]
    padding: int
    input_size: int
    preprocessing: str
    after_conv: tuple[str, ...]
    ceil: bool
    outputs: dict[str, str]


def _output_layers(conv1: str, conv2: str) -> dict[str, str]:
    convolutions = {"conv1": conv1, "conv2": conv2, "conv3": "relu3", "conv4": "relu4"}
    top = {"conv5": "pool5", "fc6": "relu6", "fc7": "relu7", "fc8": "fc8", "probabilities": "prob"}
    return convolutions | top


_CAFFE = {
    "widths": (96, 256, 384, 384, 256),
    "groups": (1, 2, 1, 2, 2),
    "padding": 0,
    "input_size": 227,
    "preprocessing": "caffe_rounded",
    "ceil": True,
}
VARIANTS = {
    "caffenet": Variant(
        **_CAFFE, after_conv=("pool", "norm"), outputs=_output_layers("norm1", "norm2")
    ),
    "bvlc": Variant(
        **_CAFFE, after_conv=("norm", "pool"), outputs=_output_layers("pool1", "pool2")
    ),
    "torchvision": Variant(
        widths=(64, 192, 384, 256, 256),
        groups=(1, 1, 1, 1, 1),
        padding=2,
        input_size=224,
        preprocessing="torch",
        after_conv=("pool",),
        ceil=False,
        outputs=_output_layers("pool1", "pool2"),
    ),
}
PAPER_LAYERS = tuple(VARIANTS["caffenet"].outputs)


def build(
    variant: str,
    image_size: tuple[int, int] | None = None,
    input_size: int | tuple[int, int] | None = None,
    units: tuple[int, int, int] | None = (4096, 4096, 1000),
    dropout: float = 0.5,
    seed: int = 0,
    last_pool: bool = True,
) -> keras.Model:
    """Builds AlexNet with layers named conv1, relu1, pool1, norm1, … prob.

    Args:
      variant: "caffenet", "bvlc" or "torchvision".
      image_size: (height, width) of the images, in pixels; defaults to the input size. Images of
        another size are resized to the input size.
      input_size: side, or (height, width), of the input of conv1, in pixels; defaults to the
        variant's training size, 227 or 224.
      units: units of fc6, fc7 and fc8; None omits the fully connected layers, so that the output
        is pool5.
      dropout: dropout rate after fc6 and fc7.
      seed: random seed of the initial weights.
      last_pool: False omits pool5 and all layers after it, which allows smaller inputs.

    Returns:
      A functional model from RGB images `[B, *image_size, 3]` in [0, 1] to class probabilities,
      pool5 or relu5.

    Raises:
      InputError: the variant is unknown, or the input is too small for a layer.
    """
    if variant not in VARIANTS:
        raise InputError(
            f"unknown AlexNet variant; choose one of {', '.join(VARIANTS)}. Received: {variant!r}"
        )
    spec = VARIANTS[variant]
    size = input_size or spec.input_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    if min(size) < 1:
        raise InputError(_too_small("conv1"))
    inputs = keras.Input((*(image_size or size), 3), name="images")
    x = Preprocess(size, spec.preprocessing, name="preprocess")(inputs)
    x = _convolution(x, spec, 1, seed)
    x = _pool_and_normalize(x, spec, 1)
    x = _pool_and_normalize(_convolution(x, spec, 2, seed), spec, 2)
    for i in (3, 4, 5):
        x = _convolution(x, spec, i, seed)
    if not last_pool:
        return keras.Model(inputs, x, name=f"alexnet_{variant}")
    x = _pool(x, spec, "pool5")
    if units is not None:
        x = keras.layers.Flatten(name="flatten")(x)
        for i, count in zip((6, 7), units, strict=False):
            x = keras.layers.Dense(
                count, kernel_initializer=keras.initializers.HeNormal(seed), name=f"fc{i}"
            )(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
            x = keras.layers.Dropout(dropout, name=f"drop{i}")(x)
        glorot = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(units[2], kernel_initializer=glorot, name="fc8", dtype="float32")(x)
        x = keras.layers.Softmax(name="prob")(x)
    return keras.Model(inputs, x, name=f"alexnet_{variant}")


def _convolution(x: keras.KerasTensor, spec: Variant, i: int, seed: int) -> keras.KerasTensor:
    kernel, stride = {1: (11, 4), 2: (5, 1)}.get(i, (3, 1))
    padding = spec.padding if i == 1 else kernel // 2
    if min(x.shape[1:3]) + 2 * padding < kernel:
        raise InputError(_too_small(f"conv{i}"))
    if i == 1 and padding:
        x = keras.layers.ZeroPadding2D(padding, name="conv1_pad")(x)
    groups = spec.groups[i - 1]
    x = (GroupedConv2D if groups > 1 else keras.layers.Conv2D)(
        spec.widths[i - 1],
        kernel,
        stride,
        "valid" if i == 1 else "same",
        groups=groups,
        kernel_initializer=keras.initializers.HeNormal(seed),
        name=f"conv{i}",
    )(x)
    return keras.layers.ReLU(name=f"relu{i}")(x)


def _pool_and_normalize(x: keras.KerasTensor, spec: Variant, i: int) -> keras.KerasTensor:
    for operation in spec.after_conv:
        if operation == "norm":
            x = LocalResponseNormalization(name=f"norm{i}")(x)
        else:
            x = _pool(x, spec, f"pool{i}")
    return x


def _pool(x: keras.KerasTensor, spec: Variant, name: str) -> keras.KerasTensor:
    if min(x.shape[1:3]) < (2 if spec.ceil else 3):
        raise InputError(_too_small(name))
    if spec.ceil:
        return ceil_max_pool(x, name)
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)


def _too_small(layer: str) -> str:
    return f"the input of AlexNet is too small: {layer} would be empty; 63×63 pixels are enough"
