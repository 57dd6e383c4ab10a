"""Static check of a SavedModel: whether a model server can run it."""

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import node_def_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfinvert.common.files import user_path
from tfinvert.errors import InputError

# These export and load, but fail at the first request outside the process that created them.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_TAG = "serve"
_METHOD = "tensorflow/serving/predict"


def check_savedmodel(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Checks that a model server can run a SavedModel and that its signatures have known shapes.

    Args:
      path: the directory that contains `saved_model.pb`.

    Returns:
      For each signature its inputs and outputs as lines of text.

    Raises:
      InputError: there is no SavedModel for serving; it calls Python; or an input or output of a
        signature has an unknown size other than the batch and the height and width of images or
        grids `[B, ?, ?, channels]`.
    """
    graph = _read_serving_graph(user_path(path))
    for function, node in _nodes(graph):
        if node.op in PYTHON_OPS:
            raise InputError(
                f"{path} cannot be served, because {node.op} {node.name!r} in {function} runs "
                "Python; replace tf.py_function and tf.numpy_function by TensorFlow ops"
            )
    placeholders = {node.name for node in graph.graph_def.node if node.op == "Placeholder"}
    signatures = {
        name: signature
        for name, signature in graph.signature_def.items()
        if signature.method_name == _METHOD
    }
    if not signatures:
        raise InputError(f"{path} cannot be served, because it has no signature")
    return {
        name: _describe_signature(path, name, signatures[name], placeholders)
        for name in sorted(signatures)
    }


def _read_serving_graph(path: pathlib.Path) -> meta_graph_pb2.MetaGraphDef:
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((path / "saved_model.pb").read_bytes())
    except OSError as error:
        raise InputError(
            f"there is no SavedModel at {path}, or its saved_model.pb cannot be read"
        ) from error
    except DecodeError as error:
        raise InputError(f"{path / 'saved_model.pb'} is damaged") from error
    for graph in model.meta_graphs:
        if _TAG in graph.meta_info_def.tags:
            return graph
    raise InputError(f"{path} cannot be served, because no graph has the tag {_TAG!r}")


def _nodes(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    """Yields every node, with the name of the function that contains it."""
    for node in graph.graph_def.node:
        yield "the main graph", node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield f"the function {function.signature.name!r}", node


def _describe_signature(
    path: str | os.PathLike[str],
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    placeholders: set[str],
) -> list[str]:
    lines = []
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for key, tensor in sorted(tensors.items()):
            shape = _format_shape(tensor.tensor_shape)
            if not _has_known_sizes(tensor.tensor_shape):
                raise InputError(
                    f"{path} cannot be served, because {kind} {key!r} of the signature {name!r} "
                    f"has unknown sizes beside the batch: {shape}"
                )
            if kind == "input" and tensor.name.split(":")[0] not in placeholders:
                raise InputError(
                    f"{path} cannot be served, because input {key!r} of the signature {name!r} is "
                    f"{tensor.name!r}, which is not a placeholder"
                )
            lines.append(f"{kind} {key}: {tf.as_dtype(tensor.dtype).name} {shape}")
    return lines


def _has_known_sizes(shape: tensor_shape_pb2.TensorShapeProto) -> bool:
    """Returns whether all sizes beside the batch are known, or only height and width are not."""
    if shape.unknown_rank:
        return False
    known = [dim.size >= 0 for dim in shape.dim[1:]]
    return all(known) or known == [False, False, True]


def _format_shape(shape: tensor_shape_pb2.TensorShapeProto) -> str:
    if shape.unknown_rank:
        return "unknown rank"
    return f"[{', '.join('?' if dim.size < 0 else str(dim.size) for dim in shape.dim)}]"
