"""Python functions as features: `python:FILE.py:NAME`, or `from_function` in a program.

A saved inverter names its function but neither contains nor runs it: until the program has loaded
the function, by either of the two, the inverter inverts features and cannot encode images.
"""

import functools
import hashlib
import importlib.util
import inspect
import operator
import pathlib
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from PIL import Image

from tfinvert.errors import InputError, first_line
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.host import HostFeature

_FAMILY = "function"
FLOAT32, UINT8, PIL, TENSOR = "float32", "uint8", "pil", "tensor"
INPUTS = (FLOAT32, UINT8, PIL, TENSOR)
_STANDARDIZE = ("channel", "layer")


class FunctionSource(NamedTuple):
    """Where a function comes from.

    Attributes:
      name: its name.
      file: path of the source file; "" if there is none.
      digest: SHA-256 of the file, hexadecimal; "" if there is none.
    """

    name: str
    file: str
    digest: str


# The functions that this process has loaded, by name and digest; the newest last.
_LOADED: dict[tuple[str, str], Callable[..., Any]] = {}


class FunctionFeature(HostFeature):
    """A Python function of images whose output shape is known; see `from_function`.

    Its name is `function/NAME`. Caches of its features depend on the digest of the file that
    defines it, not on other files that the function uses.

    Args:
      source: the function's name, file and digest. The function itself is looked up among those
        that the process has loaded when it is first called.
      feature_shape: (n,) of a vector, or (rows, columns, channels) of a grid.
      image_shape: (height, width, 3) of the images.
      input: see `from_function`.
      batched: see `from_function`.
      standardize: see `from_function`.

    Raises:
      InputError: an argument is not one of those.
    """

    def __init__(
        self,
        source: FunctionSource,
        feature_shape: Sequence[int],
        *,
        image_shape: ImageShape = (64, 64, 3),
        input: str = FLOAT32,
        batched: bool = False,
        standardize: str = "channel",
    ):
        name = f"{_FAMILY}/{source.name}"
        for option, value, values in (
            ("input", input, INPUTS),
            ("standardize", standardize, _STANDARDIZE),
        ):
            if value not in values:
                raise InputError(
                    f"{option} of {name} must be one of {', '.join(values)}. Received: {value!r}"
                )
        super().__init__(
            self._call, feature_shape, name=name, image_shape=image_shape, batched=batched
        )
        self.decoder = "fully_connected" if len(self.spec.shape) == 1 else "convolutional"
        self.source, self.input, self.standardize = source, input, standardize
        self._found: Callable[..., Any] | None = None

    def _call(self, images: np.ndarray) -> np.ndarray:
        if self._found is None:
            self._found = _find_loaded(self.name, self.source)
        return _call(self.name, self._found, images, self.input)

    def get_config(self) -> dict[str, Any]:
        """See `Feature.get_config`: the shape and the source of the function."""
        return super().get_config() | {
            "feature_shape": list(self.spec.shape),
            "file": self.source.file,
            "digest": self.source.digest,
            "input": self.input,
            "batched": self.batched,
            "standardize": self.standardize,
        }

    def identity(self) -> dict[str, Any]:
        """See `Feature.identity`; depends on the file's contents, not on its path."""
        if not self.source.digest:
            raise InputError(
                f"features of {self.name} cannot be cached, because the source of the function is "
                "unknown; define it in a file"
            )
        config = self.get_config()
        del config["file"]
        return {"name": self.name, "config": config}

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the function, which need not be picklable."""
        return self.__dict__ | {"_found": None}


def from_function(
    function: Callable[..., Any],
    *,
    image_shape: ImageShape = (64, 64, 3),
    input: str = FLOAT32,
    batched: bool = False,
    standardize: str = "channel",
    feature_shape: Sequence[int] | None = None,
) -> FunctionFeature:
    """Makes a feature of a Python function.

    The function is called once with an image of noise, which shows the shape that it has to return
    for all images. It runs on the host, image by image, and must return finite real numbers.

    Args:
      function: maps an image to an array, or to something that NumPy makes an array of, such as a
        tensor of any library: a vector `[n]` or a grid `[rows, columns, channels]`.
      image_shape: (height, width, 3) of the images.
      input: the type of image that the function takes: "float32" for an array `[H, W, 3]` in
        [0, 1], "uint8" for such an array of 8-bit values, "pil" for a Pillow image, "tensor" for a
        float32 tensor of the Keras backend. Images are RGB.
      batched: whether the function takes several images at once, `[B, H, W, 3]` or a list of Pillow
        images, and returns `[B, n]` or `[B, rows, columns, channels]`.
      standardize: "channel" for a mean and scale per entry of the last axis, "layer" for a single
        mean and scale, which suits vectors that are mostly zero.
      feature_shape: the shape of the feature, which is found by a call if None.

    Raises:
      InputError: the function fails, or returns something else.
    """
    target = function.func if isinstance(function, functools.partial) else function
    target = inspect.unwrap(target)
    name = getattr(target, "__name__", type(target).__name__)
    source = FunctionSource(name, *_locate(target))
    options = {"input": input, "batched": batched, "standardize": standardize}
    return _make_feature(function, source, image_shape, feature_shape, options)


def python_feature(
    function: str,
    image_shape: ImageShape = (64, 64, 3),
    input: str = FLOAT32,
    batched: bool = False,
    standardize: str = "channel",
) -> FunctionFeature:
    """Makes the feature `python:FILE.py:NAME` of a function in a file, which is run.

    Args:
      function: "FILE.py:NAME".
      image_shape: see `from_function`.
      input: see `from_function`.
      batched: see `from_function`.
      standardize: see `from_function`.

    Raises:
      InputError: the file cannot be read or run, or has no such function; or see `from_function`.
    """
    loaded, source = load_function(function)
    options = {"input": input, "batched": batched, "standardize": standardize}
    return _make_feature(loaded, source, image_shape, None, options)


def load_function(function: str) -> tuple[Callable[..., Any], FunctionSource]:
    """Runs a file and returns one of its functions, which saved inverters then find.

    The file's folder is appended to `sys.path`, so that the file can import its neighbours.

    Args:
      function: "FILE.py:NAME".

    Raises:
      InputError: the file cannot be read or run, or has no such function.
    """
    path, _, name = str(function).rpartition(":")
    file = pathlib.Path(path).expanduser()
    if not path or file.suffix != ".py" or not name:
        raise InputError(
            "a Python function is given as FILE.py:NAME, such as python:my_features.py:encode. "
            f"Received: {function}"
        )
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    source = FunctionSource(name, str(file.resolve()), digest)
    module = _run_file(file.resolve(), digest)
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError as error:
        functions = [x for x, y in vars(module).items() if inspect.isfunction(y)]
        raise InputError(
            f"{file} has no {name}; its functions are {', '.join(functions) or 'none'}"
        ) from error
    if not callable(found):
        raise InputError(f"{name} of {file} must be a function. Received: {type(found).__name__}")
    _LOADED[name, digest] = found
    return found, source


def find_function(family: str) -> Callable[..., FunctionFeature] | None:
    """Returns the factory of `function/NAME`, for `features.registry.register_finder`."""
    return _restore if family == _FAMILY else None


def _restore(
    name: str,
    image_shape: ImageShape = (64, 64, 3),
    feature_shape: Sequence[int] = (),
    file: str = "",
    digest: str = "",
    input: str = FLOAT32,
    batched: bool = False,
    standardize: str = "channel",
) -> FunctionFeature:
    """Rebuilds a feature from its description, without the function."""
    if not feature_shape or not all(isinstance(n, int) and n > 0 for n in feature_shape):
        raise InputError(
            f"{_FAMILY}/NAME is for saved inverters; give python:FILE.py:NAME. Received: "
            f"{_FAMILY}/{name}, feature_shape={feature_shape}"
        )
    return FunctionFeature(
        FunctionSource(name, file, digest),
        feature_shape,
        image_shape=image_shape,
        input=input,
        batched=batched,
        standardize=standardize,
    )


def _make_feature(
    function: Callable[..., Any],
    source: FunctionSource,
    image_shape: ImageShape,
    feature_shape: Sequence[int] | None,
    options: dict[str, Any],
) -> FunctionFeature:
    _LOADED.pop((source.name, source.digest), None)
    _LOADED[source.name, source.digest] = function
    image_shape = validate_image_shape(image_shape)
    if feature_shape is not None:
        return FunctionFeature(source, feature_shape, image_shape=image_shape, **options)
    # Two images of noise: a batch of one does not show where the batch axis is.
    count = (2,) if options["batched"] else ()
    noise = np.random.default_rng(0).uniform(size=(*count, *image_shape)).astype(np.float32)
    probe = FunctionFeature(source, (1,), image_shape=image_shape, **options)
    values = _call(probe.name, function, noise, options["input"])
    shape = values.shape[len(count) :]
    if values.shape[: len(count)] != count or len(shape) not in (1, 3) or 0 in shape:
        raise InputError(
            f"{probe.name} must return {_required_shapes(options['batched'], values.shape)}. "
            f"Received: an array of shape {list(values.shape)} for {len(noise) if count else 'one'}"
            f" image{'s' if count else ''}"
        )
    feature = FunctionFeature(source, shape, image_shape=image_shape, **options)
    feature._validate(values, values.shape)
    return feature


def _required_shapes(batched: bool, shape: tuple[int, ...]) -> str:
    if batched:
        return "a row for each image: vectors [B, n] or grids [B, rows, columns, channels]"
    hint = ", without a first axis of length 1" if shape[:1] == (1,) else ""
    return f"a vector [n] or a grid [rows, columns, channels]{hint}"


def _call(name: str, function: Callable[..., Any], images: np.ndarray, input: str) -> np.ndarray:
    """Calls a function with one image or several; returns an array."""
    try:
        value = function(_convert(images, input))
        if hasattr(value, "detach"):  # a tensor of PyTorch, which may have a gradient
            value = value.detach().cpu()
        return np.asarray(value)
    except InputError:
        raise
    except Exception as error:  # the function may raise anything
        raise InputError(
            f"{name} failed on {_describe(images)}: {type(error).__name__}: {first_line(error)}"
        ) from error


def _convert(images: np.ndarray, input: str) -> Any:
    """Converts float32 images, one or several, to the type that a function takes."""
    if input == FLOAT32:
        return np.array(images)  # the function may change its argument
    if input == TENSOR:
        return ops.convert_to_tensor(images)
    pixels = np.rint(np.clip(images, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    if input == UINT8:
        return pixels
    several = pixels.ndim == 4
    return [Image.fromarray(x) for x in pixels] if several else Image.fromarray(pixels)


def _describe(images: np.ndarray) -> str:
    count = f"{len(images)} images" if images.ndim == 4 else "an image"
    return f"{count} of {images.shape[-3]}×{images.shape[-2]} pixels"


def _locate(function: Any) -> tuple[str, str]:
    """The source file of a function or an object, and a digest; "" for what is unknown."""
    target = function if inspect.isroutine(function) else type(function)
    try:
        file = inspect.getsourcefile(target) or ""
        if pathlib.Path(file).is_file():
            return file, hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
        return "", hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    except (OSError, TypeError):  # defined in an interactive session, or not in Python
        return "", ""


def _run_file(file: pathlib.Path, digest: str) -> types.ModuleType:
    """Runs a file as a module, once for each contents of the file."""
    key = hashlib.sha256(f"{digest} {file}".encode("utf-8", "surrogateescape")).hexdigest()
    name = f"tfinvert_function_{key[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{file} failed: {type(error).__name__}: {first_line(error)}") from error
    return module


def _find_loaded(feature: str, source: FunctionSource) -> Callable[..., Any]:
    """The function of a feature, if the process has loaded it.

    Raises:
      InputError: it has not.
    """
    exact = _LOADED.get((source.name, source.digest))
    if exact is not None:
        return exact
    others = [found for (name, _), found in _LOADED.items() if name == source.name]
    if others:
        warnings.warn(
            f"{source.name} was loaded from a file that differs from the one that {feature} was "
            "trained with; its features may differ",
            stacklevel=2,
        )
        return others[-1]
    file, digest = source.file or "FILE.py", source.digest[:12]
    origin = f" of {file}{f' (SHA-256 {digest}…)' if digest else ''}" if source.file else ""
    raise InputError(
        f"the feature {feature} needs the function {source.name}{origin}, and loading an inverter "
        f"runs no code; give --function={file}:{source.name} or, in Python, call "
        f"tfinvert.features.from_function({source.name}) first"
    )
