"""Layers of keras.applications models, as `mobilenet_v2/out_relu`, and of `.keras` files."""

import contextlib
import io
import pathlib
import types
from collections.abc import Callable, Sequence

import keras
import numpy as np

from tfinvert.errors import InputError, first_line
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, truncate_model
from tfinvert.features.tokens import GRID, UNKNOWN, tokens_to_grid
from tfinvert.networks.layers import PREPROCESSING, Preprocess

_UNIT = "unit"


def find_application(family: str) -> Callable[..., Tap] | None:
    """What makes taps of a keras.applications model, by its name in snake case; None for others."""
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
        config = {"weights": weights, "input_size": input_size}
        given = None if weights == "random" else weights
        shape = {"input_shape": (input_size, input_size, 3)} if input_size else {}
        try:
            # Downloads speak on standard output.
            with contextlib.redirect_stdout(io.StringIO()):
                if given is None:
                    keras.utils.set_random_seed(0)  # so that the same name is the same feature
                model = build(weights=given, include_top=not shape, **shape)
        except Exception as error:  # a download, a file or a size, each with errors of its own
            reason = first_line(error)
            raise InputError(
                f"{family} cannot be had with weights={weights} (imagenet, random or a file of "
                f"weights) and input_size={input_size}: {reason}"
            ) from error
        return _tap(f"{family}/{layer}", model, layer, image_shape, _kind(module), config)

    return application_tap


def keras_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    model: str = "",
    preprocessing: str = _UNIT,
    tokens: str = GRID,
    prefix: int = UNKNOWN,
) -> Tap:
    """A layer of a model of yours.

    Args:
      layer: its name.
      image_shape: of the images, which are resized to the model's input.
      model: a `.keras` file; no code in it is run.
      preprocessing: what the model takes: "unit" for [0, 1], "bytes" for 0 to 255, or "tf",
        "torch" and "caffe" as keras.applications names them.
      tokens: what of a layer that gives tokens, "grid" or "class"; see `tokens.tokens_to_grid`.
      prefix: how many tokens come before those of the patches; see there.

    Raises:
      InputError: the file cannot be read, it has no such layer, or its tokens are no grid.
    """
    name, size = f"keras/{layer}", validate_image_shape(image_shape)[:2]
    loaded = load_keras_model(model, f"{name} takes model=FILE.keras. Received")
    whole = build_layer_model(name, loaded, [layer], size, preprocessing)
    seen = whole.get_layer("preprocess").size
    config: dict[str, str | int] = {"model": model, "preprocessing": preprocessing}
    if (tokens, prefix) != (GRID, UNKNOWN):
        config |= {"tokens": tokens, "prefix": prefix}
    return Tap(name, tokens_to_grid(name, whole, seen, tokens, prefix), config)


def load_keras_model(path: str, asked: str) -> keras.Model:
    """The model in a `.keras` file; no code in it is run.

    Args:
      path: of the file.
      asked: what to say before the path where it is no such file.

    Raises:
      InputError: there is no such file, or it cannot be read.
    """
    if not pathlib.Path(path).is_file() or not path.endswith(".keras"):
        raise InputError(f"{asked}: {path or 'none'}")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a zip, JSON, HDF5 and layers, each with errors of its own
        reason = first_line(error)
        raise InputError(f"{path} is not a readable .keras model: {reason}") from error


def build_layer_model(
    name: str,
    model: keras.Model,
    layers: Sequence[str],
    size: tuple[int, int],
    kind: str = _UNIT,
) -> keras.Model:
    """Layers of a model, behind the resizing and the range that it needs.

    Args:
      name: for what is said.
      model: takes RGB images, of one size or of any.
      layers: their names, one or more.
      size: (height, width) of the images.
      kind: a key of `layers.PREPROCESSING`.

    Returns:
      A model from `[B, *size, 3]` in [0, 1] to the output of the layer, or a list of theirs.

    Raises:
      InputError: the model takes something else, or has no such layer.
    """
    _seen(name, model, size)
    ends = [truncate_model(name, model, layer) for layer in layers]
    inner = ends[0] if len(ends) == 1 else keras.Model(model.inputs, [x.output for x in ends])
    return add_preprocessing(name, inner, size, kind)


def add_preprocessing(
    name: str, model: keras.Model, size: tuple[int, int], kind: str
) -> keras.Model:
    """A model behind the resizing, its layer "preprocess", and the range that it needs.

    The arguments are those of `build_layer_model`.

    Raises:
      InputError: the model takes no RGB images, or none of that size.
    """
    seen = _seen(name, model, size)
    images = keras.Input((*size, 3), name="images")
    ready = Preprocess(seen, kind, name="preprocess")(images)
    try:
        outputs = model(ready)
    except ValueError as error:
        raise InputError(
            f"{name} cannot see images of {size[0]}×{size[1]} pixels: {first_line(error)}"
        ) from error
    return keras.Model(images, outputs)


def _seen(name: str, model: keras.Model, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what a model sees of images of that size."""
    shapes = getattr(model, "input_shape", None)
    if not isinstance(shapes, tuple) or len(shapes) != 4 or shapes[-1] != 3:
        raise InputError(f"{name}: a tap takes a model of RGB images [H, W, 3]. Received: {shapes}")
    height, width = (side or given for side, given in zip(shapes[1:3], size, strict=True))
    return height, width


def _tap(
    name: str,
    model: keras.Model,
    layer: str,
    image_shape: ImageShape,
    kind: str,
    config: dict[str, str | int],
) -> Tap:
    size = validate_image_shape(image_shape)[:2]
    return Tap(name, build_layer_model(name, model, [layer], size, kind), config)


def _applications() -> dict[str, tuple[types.ModuleType, Callable[..., keras.Model]]]:
    """From a model's name in lower case, without underscores, to its module and function."""
    modules = (getattr(keras.applications, name) for name in sorted(dir(keras.applications)))
    found = {
        name.lower().replace("_", ""): (module, getattr(module, name))
        for module in modules
        if isinstance(module, types.ModuleType) and hasattr(module, "preprocess_input")
        for name in dir(module)
        if name[0].isupper()
    }
    for name in ("MobileNetV3Small", "MobileNetV3Large"):  # which their module does not hold
        build = getattr(keras.applications, name)
        found[name.lower()] = (keras.applications.mobilenet_v3, build)
    return found


def _kind(module: types.ModuleType) -> str:
    """Which of our preprocessings is the module's own."""
    images = np.random.default_rng(0).uniform(0.0, 1.0, (1, 4, 4, 3)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(module.preprocess_input(images * np.float32(255)))
    for kind in PREPROCESSING:
        ours = keras.ops.convert_to_numpy(Preprocess((4, 4), kind)(images))
        if np.allclose(ours, wanted, atol=1e-3):
            return kind
    raise InputError(f"{module.__name__} prepares images in a way that is not known here")
