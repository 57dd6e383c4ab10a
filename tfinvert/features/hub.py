"""Layers of KerasHub's backbones, as `hub/output:preset=FOLDER`; from the extra `hub`."""

import pathlib
import types
from typing import Any

import keras
import numpy as np

from tfinvert.errors import InputError, first_line
from tfinvert.features.applications import add_preprocessing
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, truncate_model
from tfinvert.features.tokens import GRID, UNKNOWN, tokens_to_grid
from tfinvert.networks.layers import PREPROCESSING

OUTPUT = "output"
PRESET, RANDOM, AUTO = "preset", "random", "auto"
# What backbones take that come without an image converter.
_PREPROCESSING = {
    "CLIPVisionEncoder": "clip",
    "DINOV2Backbone": "torch",
    "ResNetBackbone": "torch",
    "ViTBackbone": "tf",
}


def hub_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    preset: str = "",
    weights: str = PRESET,
    input_size: int = 0,
    preprocessing: str = AUTO,
    tokens: str = GRID,
    prefix: int = UNKNOWN,
) -> Tap:
    """A layer of a backbone of KerasHub.

    Args:
      layer: "output", the backbone's; one of its pyramid outputs, as "P5" of ResNet and "stage3" of
        DINOv2; or a layer's name. Of CLIP the image tower is meant.
      image_shape: of the images, which are resized to the backbone's input.
      preset: what `Backbone.from_preset` takes: a folder of yours that `save_to_preset` wrote, or
        the name of one to download.
      weights: "preset", or "random" for an untrained backbone, always the same.
      input_size: side of the backbone's input; 0 for the preset's, or where that takes any size
        that of the images.
      preprocessing: a key of `layers.PREPROCESSING`; "auto" for that of the preset's image
        converter, or where it has none that of the family.
      tokens: see `tokens.tokens_to_grid`.
      prefix: likewise; the backbone knows it.

    Raises:
      InputError: KerasHub is not installed, the preset cannot be read, or there is no such layer.
    """
    name = f"hub/{layer}"
    size = validate_image_shape(image_shape)[:2]
    backbone = _backbone(name, preset, weights, input_size)
    kind = preprocessing if preprocessing != AUTO else _kind(name, preset, backbone)
    end = _end(name, backbone, layer)
    model = add_preprocessing(name, end, size, kind)
    seen = tuple(model.get_layer("preprocess").size)
    grid = _patches(backbone, seen)
    config: dict[str, Any] = {"preset": preset, "weights": weights, "input_size": input_size}
    config |= {"preprocessing": preprocessing, "tokens": tokens, "prefix": prefix}
    return Tap(name, tokens_to_grid(name, model, seen, tokens, prefix, grid), config)


def _hub(name: str) -> types.ModuleType:
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"{name} takes KerasHub, which cannot be imported ({first_line(error)}): "
            "pip install tfinvert[hub]"
        ) from error
    return keras_hub


def _backbone(name: str, preset: str, weights: str, input_size: int) -> keras.Model:
    """From RGB images to what the backbone makes of them; of CLIP the image tower."""
    if not preset or weights not in (PRESET, RANDOM):
        raise InputError(
            f"{name} takes preset=FOLDER and weights={PRESET} or {RANDOM}. "
            f"Received: preset={preset or 'none'}, weights={weights}"
        )
    hub = _hub(name)
    options = {"image_shape": (input_size, input_size, 3)} if input_size else {}
    if weights == RANDOM:
        keras.utils.set_random_seed(0)  # so that the same name is the same feature
    try:
        whole = hub.models.Backbone.from_preset(
            preset, load_weights=weights == PRESET, dtype="float32", **options
        )
    except Exception as error:  # a download, JSON, HDF5 or a size, each with errors of its own
        raise InputError(
            f"{name}: preset={preset} cannot be had with weights={weights} and "
            f"input_size={input_size}: {first_line(error)}"
        ) from error
    return getattr(whole, "vision_encoder", whole)


def _end(name: str, backbone: keras.Model, layer: str) -> keras.Model:
    inputs = keras.tree.flatten(backbone.inputs)
    pyramid = getattr(backbone, "pyramid_outputs", {})
    if layer == OUTPUT:
        outputs = backbone.output
    elif layer in pyramid:
        outputs = pyramid[layer]
    else:
        there = ", ".join([OUTPUT, *pyramid])
        return truncate_model(
            f"{name}: besides {there}", keras.Model(inputs[0], backbone.outputs), layer
        )
    if len(inputs) > 1 or not isinstance(outputs, keras.KerasTensor):
        raise InputError(f"{name}: the backbone takes or gives more than one tensor; name a layer")
    return keras.Model(inputs[0], outputs)


def _patches(backbone: keras.Model, seen: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of a backbone that cuts its input into patches."""
    side = getattr(backbone, "patch_size", None)
    if side is None:
        return None
    sides = (side, side) if isinstance(side, int) else tuple(side)
    return seen[0] // sides[0], seen[1] // sides[1]


def _kind(name: str, preset: str, backbone: keras.Model) -> str:
    """Which of our preprocessings is the preset's own."""
    try:
        converter = _hub(name).layers.ImageConverter.from_preset(preset)
    except Exception as error:  # of one that there is not in several ways
        if pathlib.Path(preset, "image_converter.json").exists():
            raise InputError(
                f"{name}: the image converter of {preset} cannot be read: {first_line(error)}"
            ) from error
        converter = None
    family = type(backbone).__name__
    if converter is None and family in _PREPROCESSING:
        return _PREPROCESSING[family]
    for kind, (order, scale, offset) in PREPROCESSING.items():
        if converter is None or order != "RGB":
            continue
        given = [1.0 if converter.scale is None else converter.scale, converter.offset or 0.0]
        ours = [np.array(scale) / 255, np.array(offset)]
        if all(np.allclose(x, y, rtol=1e-3) for x, y in zip(given, ours, strict=True)):
            return kind
    raise InputError(
        f"{name}: how {family} prepares images is not known here; give preprocessing= one of "
        f"{', '.join(PREPROCESSING)}"
    )
