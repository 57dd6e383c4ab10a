"""KerasHub backbone layers, such as `hub/output:preset=FOLDER`; requires the extra `hub`."""

import pathlib
import types
from typing import Any

import keras
import numpy as np

from tfinvert.errors import InputError, first_line
from tfinvert.features.applications import add_preprocessing
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, join_models, split_outputs, truncate_model
from tfinvert.features.tokens import GRID, UNKNOWN, tokens_to_grid
from tfinvert.networks.layers import PREPROCESSING

OUTPUT = "output"
PRESET, RANDOM, AUTO = "preset", "random", "auto"
# The preprocessing of backbone families whose presets come without an image converter.
_FAMILY_PREPROCESSING = {
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
    """Builds the feature that a layer of a KerasHub backbone computes; for CLIP, the image encoder.

    Args:
      layer: "output" for the backbone's output; one of its pyramid outputs, such as "P5" of ResNet
        or "stage3" of DINOv2; a layer name; or several of these, as in "stage3+stage6".
      image_shape: shape of the images, which are resized to the backbone's input.
      preset: the argument of `Backbone.from_preset`: a folder written by `save_to_preset`, or the
        name of a preset to download.
      weights: "preset", or "random" for an untrained backbone with a fixed seed.
      input_size: side of the backbone's input in pixels; 0 for the preset's size or, if the preset
        accepts any size, the size of the images.
      preprocessing: a key of `layers.PREPROCESSING`; "auto" for that of the preset's image
        converter or, if it has none, that of the backbone family.
      tokens: see `tokens_to_grid`.
      prefix: see `tokens_to_grid`; usually unnecessary, because the backbone's patch size is known.

    Raises:
      InputError: KerasHub is not installed, the preset cannot be read, or the layer does not exist.
    """
    name = f"hub/{layer}"
    size = validate_image_shape(image_shape)[:2]
    backbone = _load_backbone(name, preset, weights, input_size)
    resolved = preprocessing if preprocessing != AUTO else _preprocessing_of(name, preset, backbone)
    ends = [_truncate_backbone(name, backbone, each) for each in layer.split("+")]
    whole = keras.Model(ends[0].input, [x.output for x in ends]) if len(ends) > 1 else ends[0]
    model = add_preprocessing(name, whole, size, resolved)
    network_size = tuple(model.get_layer("preprocess").size)
    grid = _patch_grid(backbone, network_size)
    config: dict[str, Any] = {"preset": preset, "weights": weights, "input_size": input_size}
    config |= {"preprocessing": preprocessing, "tokens": tokens, "prefix": prefix}
    grids = [
        tokens_to_grid(name, each, network_size, tokens, prefix, grid)
        for each in split_outputs(model, len(ends))
    ]
    return Tap(name, join_models(name, grids), config)


def _import_keras_hub(name: str) -> types.ModuleType:
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"{name} needs KerasHub, which cannot be imported ({first_line(error)}); "
            "run pip install tfinvert[hub]"
        ) from error
    return keras_hub


def _load_backbone(name: str, preset: str, weights: str, input_size: int) -> keras.Model:
    """Loads the backbone of a preset, which maps RGB images to its output; CLIP's image encoder."""
    if not preset or weights not in (PRESET, RANDOM):
        raise InputError(
            f"{name} needs preset=FOLDER and weights={PRESET} or {RANDOM}. "
            f"Received: preset={preset or 'none'}, weights={weights}"
        )
    hub = _import_keras_hub(name)
    options = {"image_shape": (input_size, input_size, 3)} if input_size else {}
    if weights == RANDOM:
        keras.utils.set_random_seed(0)  # a name always denotes the same feature
    try:
        backbone = hub.models.Backbone.from_preset(
            preset, load_weights=weights == PRESET, dtype="float32", **options
        )
    except Exception as error:  # downloads, JSON, HDF5 and sizes each raise errors of their own
        raise InputError(
            f"{name}: cannot load the preset: {first_line(error)}. Received: preset={preset}, "
            f"weights={weights}, input_size={input_size}"
        ) from error
    return getattr(backbone, "vision_encoder", backbone)


def _truncate_backbone(name: str, backbone: keras.Model, layer: str) -> keras.Model:
    inputs = keras.tree.flatten(backbone.inputs)
    pyramid = getattr(backbone, "pyramid_outputs", {})
    if layer == OUTPUT:
        outputs = backbone.output
    elif layer in pyramid:
        outputs = pyramid[layer]
    else:
        named = ", ".join([OUTPUT, *pyramid])
        whole = keras.Model(inputs[0], backbone.outputs)
        return truncate_model(f"{name}: besides {named}", whole, layer)
    if len(inputs) > 1 or not isinstance(outputs, keras.KerasTensor):
        raise InputError(
            f"{name}: the backbone has several inputs or outputs; choose a layer by its name"
        )
    return keras.Model(inputs[0], outputs)


def _patch_grid(backbone: keras.Model, size: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of the patches of an input of (height, width); None without patches."""
    side = getattr(backbone, "patch_size", None)
    if side is None:
        return None
    sides = (side, side) if isinstance(side, int) else tuple(side)
    return size[0] // sides[0], size[1] // sides[1]


def _preprocessing_of(name: str, preset: str, backbone: keras.Model) -> str:
    """Returns the key of `layers.PREPROCESSING` that equals the preset's preprocessing."""
    try:
        converter = _import_keras_hub(name).layers.ImageConverter.from_preset(preset)
    except Exception as error:  # a missing converter is reported in several ways
        if pathlib.Path(preset, "image_converter.json").exists():
            raise InputError(
                f"{name}: the image converter of {preset} cannot be read: {first_line(error)}"
            ) from error
        converter = None
    family = type(backbone).__name__
    if converter is None and family in _FAMILY_PREPROCESSING:
        return _FAMILY_PREPROCESSING[family]
    for key, (order, scale, offset) in PREPROCESSING.items():
        if converter is None or order != "RGB":
            continue
        converters = [1.0 if converter.scale is None else converter.scale, converter.offset or 0.0]
        ours = [np.array(scale) / 255, np.array(offset)]
        if all(np.allclose(x, y, rtol=1e-3) for x, y in zip(converters, ours, strict=True)):
            return key
    raise InputError(
        f"{name}: the preprocessing of {family} is unknown; give preprocessing= one of "
        f"{', '.join(PREPROCESSING)}"
    )
