"""Graphs of ONNX files: their tensors, and the part of a graph that computes one of them.

ONNX is described at https://onnx.ai/onnx/repo-docs/IR.html. Weights that are stored in files of
their own (external data) are found and counted into the digest, but not read into memory here.
"""

import contextlib
import difflib
import hashlib
import importlib
import math
import pathlib
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from tfinvert.common.files import update_digest
from tfinvert.errors import InputError, first_line

AUTO, NCHW, NHWC = "auto", "NCHW", "NHWC"
_CHANNEL_AXIS = {NCHW: 1, NHWC: 3}
# The element types of images that graphs take, by their names in ONNX.
_DTYPES = {
    "FLOAT": np.float32,
    "FLOAT16": np.float16,
    "DOUBLE": np.float64,
    "UINT8": np.uint8,
}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # of operators in ONNX Runtime
_KINDS = {2: "vector", 3: "tokens", 4: "grid"}  # by the number of axes, that of the batch included
_BATCH = 2  # number of images by which shapes tell the axis of the images
_TENSORS_AT_ONCE = 256  # tensors kept in memory together while their shapes are measured
_MAX_SHAPE_LENGTH = 64  # axes of a tensor, as a graph may compute them
_FOLDER_OPTION = "session.model_external_initializers_file_folder_path"
_MAX_NAMES = 5  # names in an error message

Shape = tuple[int | None, ...]  # None for an axis of any length


class ImageInput(NamedTuple):
    """The input of a graph that takes images.

    Attributes:
      name: name of the tensor.
      layout: "NCHW" or "NHWC".
      batch: number of images that the graph takes at once; None for any number.
      height: height in pixels; None for any.
      width: width in pixels; None for any.
      dtype: NumPy type of the elements.
    """

    name: str
    layout: str
    batch: int | None
    height: int | None
    width: int | None
    dtype: type


class TensorInfo(NamedTuple):
    """A tensor that depends on the input of a graph.

    Attributes:
      name: name of the tensor.
      shape: its shape, as far as it is known: None for an axis of unknown length, and for the
        first if it is that of the images. None if nothing is known.
      operator: the operator that computes it.
      output: whether it is an output of the graph, or an inner tensor.
    """

    name: str
    shape: Shape | None
    operator: str
    output: bool

    @property
    def kind(self) -> str:
        """The kind of feature that it can be: "grid", "vector", "tokens", or "" for none."""
        shape = self.shape or ()
        return _KINDS.get(len(shape), "") if shape[:1] == (None,) else ""


def require(module: str) -> types.ModuleType:
    """Imports onnx or onnxruntime.

    Raises:
      InputError: the package cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"ONNX models need the packages onnx and onnxruntime, and {module} cannot be imported "
            f"({first_line(error)}); run pip install tfinvert[onnx]"
        ) from error


class OnnxGraph:
    """The graph of an ONNX file.

    Args:
      path: path of the file.

    Attributes:
      path: path of the file.
      sha256: SHA-256 in hexadecimal of the file followed by its files of external data, in the
        order of their names.

    Raises:
      InputError: onnx is not installed, there is no such file, it is not an ONNX file, or its
        external data are missing or outside of its folder.
    """

    def __init__(self, path: pathlib.Path):
        self.path, self._folder = path, path.resolve().parent
        self._onnx = require("onnx")
        if not path.is_file():
            raise InputError(f"no such ONNX file; give the path of one. Received: {path}")
        content = path.read_bytes()
        try:
            self._model = self._onnx.ModelProto.FromString(content)
        except DecodeError:
            self._model = self._onnx.ModelProto()
        self._graph = self._model.graph
        names = [name for node in self._graph.node for name in (*node.input, *node.output)]
        names += [x.name for x in (*self._graph.input, *self._graph.output)]
        valid = all(isinstance(name, str) for name in names)  # bytes if they are not UTF-8
        if not self._model.ir_version or not self._graph.node or not valid:
            raise InputError(f"not an ONNX file, or a damaged one. Received: {path}")
        digest = hashlib.sha256(content)
        for file in self._external_files():
            update_digest(digest, file)
        self.sha256 = digest.hexdigest()
        self._read_shapes()

    def outputs(self) -> list[str]:
        """Returns the names of the outputs."""
        return [output.name for output in self._graph.output]

    def tensors(self, size: int = 0) -> list[TensorInfo]:
        """Returns the tensors that depend on an input: the outputs, then the inner tensors.

        Args:
          size: height and width of the images, for a graph that takes images of any size; 0 leaves
            shapes that depend on it unknown.
        """
        shapes, outputs = self._infer_shapes(size), self.outputs()
        operators = {name: node.op_type for node in self._graph.node for name in node.output}
        dependent = {each.name for each in self._inputs()}
        for node in self._graph.node:
            if not dependent.isdisjoint(_names_read(node)):
                dependent.update(node.output)
        names = outputs + [name for name in operators if name not in outputs]
        return [
            TensorInfo(name, shapes.get(name), operators.get(name, ""), name in outputs)
            for name in names
            if name and name in dependent
        ]

    def find(self, output: str) -> str:
        """Returns the name of a tensor; for "", that of the only output.

        Raises:
          InputError: there is no such tensor, or there are several outputs.
        """
        outputs = self.outputs()
        names = dict.fromkeys([*outputs, *(x for node in self._graph.node for x in node.output)])
        if output in names and output:
            return output
        if not output and len(outputs) == 1:
            return outputs[0]
        remedy = f"tfinvert features {self.path} lists all"
        if not output:
            raise InputError(
                f"{self.path} has {len(outputs)} outputs; choose a tensor with output=NAME, such "
                f"as {_join(outputs)} ({remedy})"
            )
        near = difflib.get_close_matches(output, names, n=_MAX_NAMES, cutoff=0.4) or outputs
        raise InputError(
            f"{self.path} has no tensor {output!r}; choose another one, such as {_join(near)} "
            f"({remedy})"
        )

    def extract(self, output: str) -> None:
        """Removes what a tensor does not depend on, and makes the tensor the only output."""
        graph, needed = self._graph, {output}
        for index in reversed(range(len(graph.node))):  # a node follows those that it depends on
            node = graph.node[index]
            if needed.isdisjoint(node.output):
                del graph.node[index]
            else:
                needed.update(_names_read(node))
        for entries in (graph.initializer, graph.input):
            for index in reversed(range(len(entries))):
                if entries[index].name not in needed:
                    del entries[index]
        del graph.output[:]
        graph.output.add(name=output)

    def image_input(self, layout: str = AUTO) -> ImageInput:
        """Returns the input, which must be the only one and take RGB images.

        Args:
          layout: "NCHW", "NHWC", or "auto" for the layout in which three channels are declared.

        Raises:
          InputError: the graph has no input, several, or one of another kind, or its layout cannot
            be determined.
        """
        inputs = self._inputs()
        if len(inputs) != 1:
            reason = (
                "depends on several inputs; choose a tensor that depends on the image only, such "
                f"as the output of the image tower. Received: {_join([x.name for x in inputs])}"
            )
            output = self.outputs()[0]
            raise InputError(
                f"{self.path}: the tensor {output!r} "
                + (reason if inputs else "does not depend on the image; choose another one")
            )
        declared, name = inputs[0].type.tensor_type, inputs[0].name
        dtype = self._onnx.TensorProto.DataType.Name(declared.elem_type)
        shape = _shape_of(inputs[0])
        if dtype not in _DTYPES or shape is None or len(shape) != 4:
            raise InputError(
                f"{self.path} takes no images, [B, 3, H, W] or [B, H, W, 3] of one of the types "
                f"{', '.join(_DTYPES)}. Received: the input {name!r} of type {dtype} and shape "
                f"{format_shape(shape)}"
            )
        layout = self._find_layout(name, shape, layout)
        sides = shape[2:] if layout == NCHW else shape[1:3]
        return ImageInput(name, layout, shape[0], *sides, _DTYPES[dtype])

    def ends_in_softmax(self) -> bool:
        """Returns whether the values of the only output are probabilities."""
        (output,) = self.outputs()
        return any(x.op_type == "Softmax" for x in self._graph.node if output in x.output)

    def open_session(self, num_threads: int = 0) -> Any:
        """Opens the graph in ONNX Runtime, on the CPU.

        Args:
          num_threads: number of threads; 0 for ONNX Runtime's own choice.

        Raises:
          InputError: onnxruntime is not installed, or cannot run the graph.
        """
        try:
            return self._open_session(self._model, num_threads)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime raises an exception type for each status
            reason, custom = describe_error(error), self._custom_operators()
            if custom:
                remedy = f"export it without the custom operators {_join(custom)}"
            elif "No Op registered" in reason:
                remedy = "export it with operators of ONNX only"
            elif re.search("opset|IR version", reason):
                remedy = "upgrade onnxruntime, or export it with a lower opset_version"
            else:
                remedy = "check it with onnx.checker.check_model"
            version = require("onnxruntime").__version__
            raise InputError(
                f"ONNX Runtime {version} cannot run {self.path}; {remedy}. Received: {reason}"
            ) from error

    def _open_session(self, model: Any, num_threads: int = 0) -> Any:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, and not printed as well
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry(_FOLDER_OPTION, str(self._folder))
        return runtime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # to other providers, which prints lines of its own
        )

    def _custom_operators(self) -> list[str]:
        """Returns the operators that are neither ONNX's, nor ONNX Runtime's, nor in the file."""
        known = _DOMAINS | {function.domain for function in self._model.functions}
        nodes = [node for node in self._graph.node if node.domain not in known]
        return sorted({f"{node.domain}.{node.op_type}" for node in nodes})

    def _inputs(self) -> list[Any]:
        # Before version 4 of the format, weights had to be listed as inputs too.
        weights = {weight.name for weight in self._graph.initializer}
        return [each for each in self._graph.input if each.name not in weights]

    def _find_layout(self, name: str, shape: Shape, layout: str) -> str:
        fits = [x for x, axis in _CHANNEL_AXIS.items() if shape[axis] == 3]
        possible = [x for x, axis in _CHANNEL_AXIS.items() if shape[axis] in (3, None)]
        if layout in possible:
            return layout
        if layout == AUTO and len(fits) == 1:
            return fits[0]
        problem = "takes no RGB images"
        if layout == AUTO and possible:
            problem = f"may take images as {NCHW} or {NHWC}; give layout={NCHW} or {NHWC}"
        elif possible:
            problem = f"takes images as {_join(possible)}; give that as layout, or {AUTO}"
        raise InputError(
            f"{self.path} {problem}. Received: layout={layout} and the input {name!r} of shape "
            f"{format_shape(shape)}"
        )

    def _infer_shapes(self, size: int) -> dict[str, Shape | None]:
        """Returns the shapes of tensors by name, as far as they follow from that of the input."""
        model = self._onnx.ModelProto()
        model.CopyFrom(self._model)
        inputs, batches = {each.name for each in self._inputs()}, set()
        for each in model.graph.input:
            dims = each.type.tensor_type.shape.dim
            if each.name in inputs and len(dims) == 4:
                for dim, length in zip(dims, (_BATCH, size, size, size), strict=True):
                    if length and _length(dim) is None:
                        dim.dim_value = length
                batches.add(_length(dims[0]))
        # It raises several types; then the shapes that the file declares have to do.
        with contextlib.suppress(Exception):
            model = self._onnx.shape_inference.infer_shapes(model, data_prop=True)
        names = [name for node in model.graph.node for name in node.output if name]
        shapes: dict[str, Shape | None] = dict.fromkeys(names)
        found = [*model.graph.value_info, *model.graph.output]
        shapes |= {each.name: _shape_of(each) for each in found}
        unknown = [name for name, shape in shapes.items() if shape is None or None in shape]
        shapes |= self._measure_shapes(model, unknown)
        return {
            name: (None, *shape[1:]) if shape and shape[0] in batches else shape
            for name, shape in shapes.items()
        }

    def _measure_shapes(self, model: Any, names: list[str]) -> dict[str, Shape]:
        """Returns the shapes that tensors have when the graph is run; none if it cannot be run."""
        shapes, inputs, helper = {}, {}, self._onnx.helper
        declared = {each.name: each for each in model.graph.input}
        try:
            del model.graph.output[:]
            model.graph.output.extend(map(helper.make_empty_tensor_value_info, names))
            for name in (each.name for each in self._inputs()):
                dtype = helper.tensor_dtype_to_np_dtype(declared[name].type.tensor_type.elem_type)
                inputs[name] = np.zeros(_shape_of(declared[name]), dtype)
            session = self._open_session(model)
            for begin in range(0, len(names), _TENSORS_AT_ONCE):
                part = names[begin : begin + _TENSORS_AT_ONCE]
                values = session.run(part, inputs)
                shapes |= {name: np.shape(value) for name, value in zip(part, values, strict=True)}
        except Exception:  # of several types; a listing does without these shapes
            return {}
        return shapes

    def _read_shapes(self) -> None:
        """Reads external tensors that may be shapes: a graph cannot be opened without them."""
        for tensor in _stored_tensors(self._graph):
            external = tensor.data_location == self._onnx.TensorProto.EXTERNAL
            if external and math.prod(tensor.dims) <= _MAX_SHAPE_LENGTH:
                helper = self._onnx.external_data_helper
                try:
                    helper.load_external_data_for_tensor(tensor, str(self._folder))
                except Exception as error:  # of several types, for a file of another length
                    raise InputError(
                        f"{self.path}: its external data are damaged: {first_line(error)}"
                    ) from error
                tensor.data_location = self._onnx.TensorProto.DEFAULT
                del tensor.external_data[:]

    def _external_files(self) -> list[pathlib.Path]:
        """Returns the files of external data, sorted.

        Raises:
          InputError: one does not exist, or lies outside of the folder of the model.
        """
        external = self._onnx.TensorProto.EXTERNAL
        locations = {
            entry.value
            for tensor in _stored_tensors(self._graph)
            if tensor.data_location == external
            for entry in tensor.external_data
            if entry.key == "location"
        }
        files = [self._folder / location for location in sorted(locations)]
        for file in files:
            if not file.resolve().is_relative_to(self._folder):
                raise InputError(
                    f"{self.path} refers to data outside of its folder. Received: {file}"
                )
            if not file.is_file():
                raise InputError(
                    f"{self.path} needs a file of weights beside it (external data) that does not "
                    f"exist; put it there. Received: {file}"
                )
        return files


def find_grid_layout(
    name: str, shape: tuple[int, ...], input_size: tuple[int, int], layout: str = AUTO
) -> str:
    """Returns the layout of a grid of cells.

    Args:
      name: name of the tensor, for error messages.
      shape: shape of the grid of one image, three axes.
      input_size: (height, width) of the input. The cells are square, so that the grid has its
        aspect ratio, up to one cell.
      layout: "NCHW", "NHWC", or "auto" for the only layout with that aspect ratio.

    Raises:
      InputError: none or both have it.
    """
    if layout in _CHANNEL_AXIS:
        return layout
    height, width = input_size
    sides = {NCHW: shape[1:], NHWC: shape[:2]}
    fits = [
        x
        for x, (rows, columns) in sides.items()
        if abs(rows * width - columns * height) < max(height, width)
    ]
    if len(fits) == 1:
        return fits[0]
    raise InputError(
        f"{name}: the axes of the tensor may be {NCHW} or {NHWC}; give output_layout={NCHW} or "
        f"{NHWC}. Received: shape {format_shape((None, *shape))}"
    )


def format_shape(shape: Shape | None) -> str:
    """Formats the shape of a tensor whose first axis is that of the batch."""
    if shape is None:
        return "unknown"
    batch = ["B" if side is None else str(side) for side in shape[:1]]
    return f"[{', '.join([*batch, *('?' if x is None else str(x) for x in shape[1:])])}]"


def describe_error(error: Exception) -> str:
    """Returns the message of an error of ONNX Runtime without its status and source line."""
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    message = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\) ", "", message)
    return textwrap.shorten(message, 240, placeholder=" …")


def _join(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _length(dim: Any) -> int | None:
    return dim.dim_value if dim.dim_value > 0 else None  # some exporters write -1 for any length


def _shape_of(value: Any) -> Shape | None:
    tensor = value.type.tensor_type
    return tuple(map(_length, tensor.shape.dim)) if tensor.HasField("shape") else None


def _names_read(node: Any) -> Iterator[str]:
    """Yields the names of the tensors that a node reads, those in its inner graphs included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _names_read(inner)
            yield from (output.name for output in graph.output)


def _stored_tensors(graph: Any) -> Iterator[Any]:
    """Yields the tensors that are stored in a graph and in its inner graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _stored_tensors(inner)
