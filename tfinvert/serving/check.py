"""What can be seen of a SavedModel without running it: would a model server run it?"""

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import node_def_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfinvert.errors import InputError

# They export and load, and fail at the first request outside of the process that made them.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_TAG = "serve"
_METHOD = "tensorflow/serving/predict"


def check_savedmodel(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Checks that a model server can run a SavedModel and that its signatures say what they take.

    Args:
      path: the directory that holds `saved_model.pb`.

    Returns:
      For each signature its inputs and outputs as lines of text.

    Raises:
      InputError: there is no SavedModel for serving, it calls Python, or an input or output of a
        signature has an unknown size, that of the batch and the height and width of images or grids
        `[B, ?, ?, channels]` excepted.
    """
    graph = _serving_graph(pathlib.Path(path))
    for function, node in _nodes(graph):
        if node.op in PYTHON_OPS:
            raise InputError(
                f"{path} cannot be served: {node.op} {node.name!r} in {function} runs Python; use "
                f"TensorFlow ops in place of tf.py_function and tf.numpy_function"
            )
    placeholders = {node.name for node in graph.graph_def.node if node.op == "Placeholder"}
    signatures = {
        name: signature
        for name, signature in graph.signature_def.items()
        if signature.method_name == _METHOD
    }
    if not signatures:
        raise InputError(f"{path} cannot be served: it has no signature")
    return {
        name: _describe(path, name, signatures[name], placeholders) for name in sorted(signatures)
    }


def _serving_graph(path: pathlib.Path) -> meta_graph_pb2.MetaGraphDef:
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((path / "saved_model.pb").read_bytes())
    except OSError as error:
        raise InputError(f"no SavedModel at {path}: saved_model.pb cannot be read") from error
    except DecodeError as error:
        raise InputError(f"{path / 'saved_model.pb'} is damaged") from error
    for graph in model.meta_graphs:
        if _TAG in graph.meta_info_def.tags:
            return graph
    raise InputError(f"{path} cannot be served: no graph has the tag {_TAG!r}")


def _nodes(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    for node in graph.graph_def.node:
        yield "the main graph", node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield f"the function {function.signature.name!r}", node


def _describe(
    path: str | os.PathLike[str],
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    placeholders: set[str],
) -> list[str]:
    lines = []
    for kind, tensors in (("takes", signature.inputs), ("gives", signature.outputs)):
        for key, tensor in sorted(tensors.items()):
            if not _known_beside_batch(tensor.tensor_shape):
                raise InputError(
                    f"{path} cannot be served: {key!r} of the signature {name!r} has unknown sizes "
                    f"beside the batch: {_shape(tensor.tensor_shape)}"
                )
            if kind == "takes" and tensor.name.split(":")[0] not in placeholders:
                raise InputError(
                    f"{path} cannot be served: the input {key!r} of the signature {name!r} is "
                    f"{tensor.name!r}, which is no placeholder"
                )
            dtype = tf.as_dtype(tensor.dtype).name
            lines.append(f"{kind} {key}: {dtype} {_shape(tensor.tensor_shape)}")
    return lines


def _known_beside_batch(shape: tensor_shape_pb2.TensorShapeProto) -> bool:
    if shape.unknown_rank:
        return False
    known = [dim.size >= 0 for dim in shape.dim[1:]]
    return all(known) or known == [False, False, True]


def _shape(shape: tensor_shape_pb2.TensorShapeProto) -> str:
    if shape.unknown_rank:
        return "of unknown rank"
    return f"[{', '.join('?' if dim.size < 0 else str(dim.size) for dim in shape.dim)}]"
