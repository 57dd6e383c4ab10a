"""Layers of keras.applications models, such as `mobilenet_v2/out_relu`, and of `.keras` files."""

import contextlib
import io
import os
import pathlib
import types
from collections.abc import Callable, Sequence

import keras
import numpy as np

from tfinvert.errors import InputError, first_line
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import (
    Tap,
    check_joinable,
    join_models,
    split_layers,
    split_outputs,
    truncate_model,
)
from tfinvert.features.tokens import GRID, UNKNOWN, tokens_to_grid
from tfinvert.networks.layers import PREPROCESSING, Preprocess

_UNIT = "unit"


def find_application(family: str) -> Callable[..., Tap] | None:
    """Returns the tap factory of a keras.applications model by its snake_case name, or None."""
    found = _applications().get(family.replace("_", ""))
    if found is None:
        return None
    module, build = found

    def application_tap(
        layer: str,
        image_shape: ImageShape = (64, 64, 3),
        weights: str = "imagenet",
        input_size: int = 0,
    ) -> Tap:
        name, size = f"{family}/{layer}", validate_image_shape(image_shape)[:2]
        config = {"weights": weights, "input_size": input_size}
        random = weights == "random"
        shape = {"input_shape": (input_size, input_size, 3)} if input_size else {}
        try:
            # Keras reports downloads on standard output.
            with contextlib.redirect_stdout(io.StringIO()):
                if random:
                    keras.utils.set_random_seed(0)  # a name always denotes the same feature
                model = build(weights=None if random else weights, include_top=not shape, **shape)
        except Exception as error:  # downloads, files and sizes each raise errors of their own
            raise InputError(
                f"cannot build {family}: {first_line(error)}; choose weights=imagenet, random or "
                f"a weights file. Received: weights={weights}, input_size={input_size}"
            ) from error
        preprocessing = _preprocessing_of(module)
        models = build_tap_models(name, model, layer, size, preprocessing)
        return Tap(name, join_models(name, models), config)

    return application_tap


def keras_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    model: str = "",
    preprocessing: str = _UNIT,
    tokens: str = GRID,
    prefix: int = UNKNOWN,
) -> Tap:
    """Builds the feature that a layer of a user's own Keras model computes.

    Args:
      layer: name of the layer, or names joined by "+".
      image_shape: shape of the images, which are resized to the model's input.
      model: path of a `.keras` file; no code in it is run.
      preprocessing: the input range of the model: "unit" for [0, 1], "bytes" for 0 to 255, or
        "tf", "torch" and "caffe" as in keras.applications.
      tokens: for a layer that outputs tokens, "grid" or "class"; see `tokens_to_grid`.
      prefix: number of tokens before the patch tokens; see `tokens_to_grid`.

    Raises:
      InputError: the file cannot be read, has no such layer, or its tokens do not form a grid.
    """
    name, size = f"keras/{layer}", validate_image_shape(image_shape)[:2]
    loaded = load_keras_model(model, f"{name} needs model=FILE.keras")
    models = build_tap_models(name, loaded, layer, size, preprocessing)
    input_size = models[0].get_layer("preprocess").size
    config: dict[str, str | int] = {"model": model, "preprocessing": preprocessing}
    if (tokens, prefix) != (GRID, UNKNOWN):
        config |= {"tokens": tokens, "prefix": prefix}
    grids = [tokens_to_grid(name, each, input_size, tokens, prefix) for each in models]
    return Tap(name, join_models(name, grids), config)


def load_keras_model(path: str, requirement: str) -> keras.Model:
    """Loads a model from a `.keras` file; no code in it is run.

    Args:
      path: path of the file.
      requirement: the beginning of the error message if `path` is not such a file.

    Raises:
      InputError: the file does not exist or cannot be read.
    """
    path = os.path.expanduser(path)
    if not pathlib.Path(path).is_file() or not path.endswith(".keras"):
        raise InputError(f"{requirement}. Received: {path or 'none'}")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zip, JSON, HDF5 and layers each raise errors of their own
        raise InputError(f"{path} is not a readable .keras model: {first_line(error)}") from error


def build_layer_model(
    name: str,
    model: keras.Model,
    layers: Sequence[str],
    size: tuple[int, int],
    preprocessing: str = _UNIT,
) -> keras.Model:
    """Builds a model from images to the outputs of layers, with the preprocessing they need.

    Args:
      name: name of the feature or loss, for error messages.
      model: a model of RGB images, of one size or of any size.
      layers: names of one or more layers.
      size: (height, width) of the images.
      preprocessing: a key of `layers.PREPROCESSING`.

    Returns:
      A model from `[B, *size, 3]` in [0, 1] to the output of the layer, or to a list of outputs.

    Raises:
      InputError: the model takes other inputs, or has no such layer.
    """
    _input_size(name, model, size)
    ends = [truncate_model(name, model, layer) for layer in layers]
    inner = ends[0] if len(ends) == 1 else keras.Model(model.inputs, [x.output for x in ends])
    return add_preprocessing(name, inner, size, preprocessing)


def build_tap_models(
    name: str, model: keras.Model, layer: str, size: tuple[int, int], preprocessing: str
) -> list[keras.Model]:
    """Builds a model for each layer of a feature, on the same images.

    Args:
      name: name of the feature, for error messages.
      model: see `build_layer_model`.
      layer: name of a layer, or names joined by "+".
      size: see `build_layer_model`.
      preprocessing: see `build_layer_model`.

    Raises:
      InputError: as `build_layer_model` and `check_joinable`.
    """
    layers = split_layers(layer, model)
    check_joinable(name, model, layers)
    whole = build_layer_model(name, model, layers, size, preprocessing)
    return split_outputs(whole, len(layers))


def add_preprocessing(
    name: str, model: keras.Model, size: tuple[int, int], preprocessing: str
) -> keras.Model:
    """Puts the layer "preprocess", which resizes and rescales images, in front of a model.

    Args:
      name: name of the feature or loss, for error messages.
      model: a model of RGB images, of one size or of any size.
      size: (height, width) of the images.
      preprocessing: a key of `layers.PREPROCESSING`.

    Raises:
      InputError: the model does not take RGB images, or none of that size.
    """
    input_size = _input_size(name, model, size)
    images = keras.Input((*size, 3), name="images")
    inputs = Preprocess(input_size, preprocessing, name="preprocess")(images)
    try:
        outputs = model(inputs)
    except ValueError as error:
        raise InputError(
            f"{name} does not accept images of {size[0]}×{size[1]} pixels: {first_line(error)}"
        ) from error
    return keras.Model(images, outputs)


def _input_size(name: str, model: keras.Model, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to which a model's input images of (height, width) `size` are resized."""
    shapes = getattr(model, "input_shape", None)
    if not isinstance(shapes, tuple) or len(shapes) != 4 or shapes[-1] != 3:
        raise InputError(f"{name} needs a model of RGB images [H, W, 3]. Received: {shapes}")
    height, width = (side or image_side for side, image_side in zip(shapes[1:3], size, strict=True))
    return height, width


def _applications() -> dict[str, tuple[types.ModuleType, Callable[..., keras.Model]]]:
    """Maps model names, lower case without underscores, to their modules and functions."""
    modules = (getattr(keras.applications, name) for name in sorted(dir(keras.applications)))
    found = {
        name.lower().replace("_", ""): (module, getattr(module, name))
        for module in modules
        if isinstance(module, types.ModuleType) and hasattr(module, "preprocess_input")
        for name in dir(module)
        if name[0].isupper()
    }
    for name in ("MobileNetV3Small", "MobileNetV3Large"):  # not attributes of their module
        build = getattr(keras.applications, name)
        found[name.lower()] = (keras.applications.mobilenet_v3, build)
    return found


def _preprocessing_of(module: types.ModuleType) -> str:
    """Returns the key of `layers.PREPROCESSING` that equals the module's `preprocess_input`."""
    images = np.random.default_rng(0).uniform(0.0, 1.0, (1, 4, 4, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(module.preprocess_input(images * np.float32(255)))
    for name in PREPROCESSING:
        values = keras.ops.convert_to_numpy(Preprocess((4, 4), name)(images))
        if np.allclose(values, expected, atol=1e-3):
            return name
    raise InputError(f"{module.__name__} uses a preprocessing that is not supported")
