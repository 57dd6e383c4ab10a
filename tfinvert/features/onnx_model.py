"""Outputs and inner tensors of ONNX models as features, computed by ONNX Runtime.

`onnx:model.onnx,output=NAME`; requires the extra `onnx`.
"""

import functools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.common import backend
from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape
from tfinvert.features.host import num_threads
from tfinvert.features.taps import LOG_FLOOR
from tfinvert.features.tokens import GRID, UNKNOWN, select_tokens
from tfinvert.networks.layers import Preprocess
from tfinvert.networks.onnx_graph import (
    AUTO,
    NCHW,
    NHWC,
    OnnxGraph,
    describe_error,
    find_grid_layout,
    format_shape,
    require,
)


class OnnxFeature(Feature):
    """A tensor of an ONNX model: a grid `[rows, columns, channels]` or a vector `[n]`.

    The model runs on the CPU, by ONNX Runtime, when features of images are computed. A saved
    inverter names the file and its digest, and does not contain it: without the file it inverts
    features, and rejects images.

    Args:
      model: path of the file. If it does not exist, a file of the same name in the current folder
        is used instead.
      image_shape: (height, width, 3) of the images, which are resized to the model's input.
      output: name of an output or an inner tensor; "" for the only output.
      size: height and width of the input in pixels, for a model that takes images of any size; 0
        for the size that the model declares or, if it declares none, that of the images.
      preprocessing: the input that the model expects, a key of `layers.PREPROCESSING`.
      layout: axes of the input: "NCHW", "NHWC", or "auto" for those that the model declares.
      output_layout: axes of a grid: "NCHW", "NHWC", or "auto" for those that give the grid the
        aspect ratio of the input.
      tokens: for tokens `[T, C]`, "grid" or "class"; see `tokens.tokens_to_grid`.
      prefix: number of tokens before the patch tokens; see `tokens.tokens_to_grid`.
      sha256: see `OnnxGraph`; a file with another digest is rejected. "" for any file.
      feature_shape: shape of the feature. If it is given with `sha256`, as `get_config` does, the
        file is read only when a feature is computed.
      log_floor: see `Feature`, for a feature whose file is not read.

    Raises:
      InputError: a package is not installed; the file cannot be read or run; the tensor does not
        exist, or is not a grid, a vector or tokens; or an option does not fit the model.
    """

    name = "onnx"
    in_graph = False
    differentiable = False
    xla = False

    def __init__(
        self,
        model: str,
        image_shape: ImageShape = (64, 64, 3),
        output: str = "",
        size: int = 0,
        preprocessing: str = "unit",
        layout: str = AUTO,
        output_layout: str = AUTO,
        tokens: str = GRID,
        prefix: int = UNKNOWN,
        sha256: str = "",
        feature_shape: Sequence[int] = (),
        log_floor: float = 0.0,
    ):
        super().__init__(image_shape)
        self._model, self._output, self._sha256 = os.fspath(model), output, sha256
        self._options: dict[str, Any] = {
            "size": size,
            "preprocessing": preprocessing,
            "layout": _validate_layout("layout", layout),
            "output_layout": _validate_layout("output_layout", output_layout),
            "tokens": tokens,
            "prefix": prefix,
        }
        self._shape, self.log_floor = tuple(feature_shape), log_floor
        if not (self._shape and sha256):
            self._output, self._sha256 = self._tensor.name, self._tensor.sha256
            self._shape, self.log_floor = self._tensor.shape, self._tensor.log_floor
        is_grid = len(self._shape) == 3
        self.standardize = "channel" if is_grid else "layer"
        self.decoder = "convolutional" if is_grid else "fully_connected"

    @property
    def spec(self) -> FeatureSpec:
        """The shape of the tensor for one image, channels last, float32."""
        return FeatureSpec(self._shape)

    def compute(self, images: Tensor) -> Tensor:
        """See `Feature.compute`.

        Raises:
          InputError: the file is missing, has another digest, or cannot be run, or the values have
            another shape than before or are not finite.
        """
        tensor = self._tensor
        inputs = tensor.preprocess(images)
        return backend.call_on_host(tensor.compute, inputs, (images.shape[0], *self._shape))

    def identity(self) -> Mapping[str, Any]:
        """See `Feature.identity`; depends on the content of the file, not on its path."""
        config = {key: value for key, value in self.get_config().items() if key != "model"}
        version = require("onnxruntime").__version__
        return {"name": self.name, "config": config, "onnxruntime": version}

    def get_config(self) -> dict[str, Any]:
        """See `Feature.get_config`."""
        return {
            **super().get_config(),
            "model": self._model,
            "output": self._output,
            **self._options,
            "sha256": self._sha256,
            "feature_shape": list(self._shape),
            "log_floor": self.log_floor,
        }

    def __getstate__(self) -> dict[str, Any]:
        # A session of ONNX Runtime can be neither copied nor pickled.
        return {key: value for key, value in vars(self).items() if key != "_tensor"}

    @functools.cached_property
    def _tensor(self) -> "_ComputedTensor":
        path = pathlib.Path(self._model).expanduser()
        if not path.is_file() and pathlib.Path(path.name).is_file():
            path = pathlib.Path(path.name)
        if self._sha256 and not path.is_file():
            raise InputError(
                f"the feature onnx needs the file {self._model} with SHA-256 {self._sha256}, which "
                f"does not exist; put it there, or as {path.name} into the current folder (without "
                "it, features can be inverted, but not computed from images)"
            )
        graph = OnnxGraph(path)
        if self._sha256 not in ("", graph.sha256):
            raise InputError(
                f"{path} is not the file that the feature was computed with; put the file with "
                f"SHA-256 {self._sha256} there. Received: a file with SHA-256 {graph.sha256}"
            )
        return _ComputedTensor(graph, self._output, self.image_shape[:2], **self._options)


class _ComputedTensor:
    """A tensor of an ONNX graph, as a function of images.

    Args:
      graph: the graph, which is reduced to the tensor.
      output: see `OnnxFeature`, also for the other arguments.

    Attributes:
      name: name of the tensor.
      sha256: digest of the file.
      shape: shape of the feature.
      log_floor: see `Feature`.
      preprocess: the layer that maps images to the input of the graph, channels last.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        output: str,
        image_size: tuple[int, int],
        size: int,
        preprocessing: str,
        layout: str,
        output_layout: str,
        tokens: str,
        prefix: int,
    ):
        self.name, self.sha256 = graph.find(output), graph.sha256
        graph.extract(self.name)
        self._input = graph.image_input(layout)
        self._label = f"{graph.path}: {self.name}"
        declared = self._input.height, self._input.width
        if size < 0 or (size and any(side not in (None, size) for side in declared)):
            raise InputError(
                f"{graph.path} takes images of {declared[0] or 'any'}×{declared[1] or 'any'} "
                f"pixels; omit size, or give a positive number for a model of any size. Received: "
                f"size={size}"
            )
        input_size = tuple(
            side or size or image_side
            for side, image_side in zip(declared, image_size, strict=True)
        )
        self.preprocess = Preprocess(input_size, preprocessing, dtype="float32")
        if self._input.dtype is np.uint8 and preprocessing != "bytes":
            raise InputError(
                f"{graph.path} takes images of type uint8; give preprocessing=bytes. Received: "
                f"preprocessing={preprocessing}"
            )
        self.log_floor = LOG_FLOOR if graph.ends_in_softmax() else 0.0
        self._session = graph.open_session(num_threads())
        self._batch_size = self._input.batch
        self._raw_shape = self._probe(input_size)
        # Exporters keep the axes of a pooled grid, [C, 1, 1].
        is_vector = max(self._raw_shape) == math.prod(self._raw_shape)
        self.shape = (max(self._raw_shape),) if is_vector else self._raw_shape
        self._channels_first = False
        if len(self.shape) == 3:
            layout = find_grid_layout(self._label, self.shape, input_size, output_layout)
            self._channels_first = layout == NCHW
            if self._channels_first:
                self.shape = (*self.shape[1:], self.shape[0])
        batch_shape = (None, *self.shape)
        self._selection = select_tokens(self._label, batch_shape, input_size, tokens, prefix)
        if self._selection:
            self.shape = (*self._selection.shape, self.shape[-1])

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Maps preprocessed images `[B, H, W, 3]` to features `[B, *shape]`, float32.

        Raises:
          InputError: the model cannot be run, or the values have another shape than those of other
            images or are not finite.
        """
        values = self._run(images)
        if values.shape[1:] != self._raw_shape:
            raise InputError(
                f"{self._label} must have the same shape for all images, "
                f"{format_shape((None, *self._raw_shape))}. Received: {format_shape(values.shape)}"
            )
        if not np.isfinite(values).all():
            raise InputError(f"{self._label} must be finite. Received: values that are NaN or ±∞")
        if self._selection:
            values = values[:, self._selection.begin : self._selection.end]
        elif self._channels_first:
            values = values.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(values.reshape(len(images), *self.shape))

    def _probe(self, input_size: tuple[int, int]) -> tuple[int, ...]:
        """Returns the shape of the tensor for one image, computed for noise.

        A graph that declares no batch size but runs for single images only gets the batch size 1.
        """
        noise = np.random.default_rng(0).random((2, *input_size, 3), np.float32)
        try:
            shape = self._run(noise).shape[1:]
        except InputError:
            if self._batch_size:
                raise
            self._batch_size = 1
            shape = self._run(noise).shape[1:]
        if len(shape) not in (1, 2, 3) or 0 in shape:
            raise InputError(
                f"{self._label} is no grid, no vector and no sequence of tokens; choose another "
                f"tensor. Received: shape {format_shape((None, *shape))}"
            )
        return shape

    def _run(self, images: np.ndarray) -> np.ndarray:
        """Computes the tensor in batches of the size that the graph takes; `[B, *raw_shape]`."""
        if self._input.dtype is np.uint8:
            images = np.rint(images)
        if self._input.layout == NCHW:
            images = images.transpose(0, 3, 1, 2)
        images = np.ascontiguousarray(images, self._input.dtype)
        count, size = len(images), self._batch_size or max(1, len(images))
        images = np.pad(images, [(0, -count % size), (0, 0), (0, 0), (0, 0)])
        batches = [self._run_batch(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(batches)[:count] if batches else np.empty((0, *self._raw_shape))

    def _run_batch(self, images: np.ndarray) -> np.ndarray:
        try:
            (values,) = self._session.run([self.name], {self._input.name: images})
        except Exception as error:  # ONNX Runtime raises an exception type for each status
            raise InputError(
                f"{self._label} cannot be computed; size= sets the size of the images that the "
                f"model takes. Received: images {list(images.shape)}: {describe_error(error)}"
            ) from error
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            received = getattr(values, "dtype", type(values).__name__)
            raise InputError(
                f"{self._label} does not consist of numbers; choose another tensor. Received: "
                f"{received}"
            )
        if values.shape[:1] != images.shape[:1]:
            raise InputError(
                f"{self._label}: the first axis of the tensor is not that of the images; choose "
                f"another tensor. Received: shape {list(values.shape)} for a batch of {len(images)}"
            )
        return values.astype(np.float32, copy=False)


def _validate_layout(option: str, layout: str) -> str:
    layouts = {x.lower(): x for x in (AUTO, NCHW, NHWC)}
    if layout.lower() not in layouts:
        raise InputError(f"{option} must be {AUTO}, {NCHW} or {NHWC}. Received: {option}={layout}")
    return layouts[layout.lower()]
