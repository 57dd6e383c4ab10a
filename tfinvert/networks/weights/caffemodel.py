"""Reads AlexNet weights from Caffe's `.caffemodel` files.

Such a file is a NetParameter message in the current format or in the one used before 2015. Only the
messages and fields that contain weights are declared; the parser skips all others.
"""

import functools
import math
import pathlib
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfinvert.errors import InputError
from tfinvert.networks.weights.layouts import CAFFE, DENSE, FileContents

_PACKAGE = "tfinvert.caffe"
# (name, number, type) of each field; * marks a repeated one. Packed numbers are declared as bytes,
# their wire format, which avoids a Python object for each of 61 million weights.
_MESSAGES = {
    "Shape": [("dim", 1, "int64*")],
    "Blob": [
        ("num", 1, "int32"),
        ("channels", 2, "int32"),
        ("height", 3, "int32"),
        ("width", 4, "int32"),
        ("data", 5, "bytes"),
        ("shape", 7, "Shape"),
        ("double_data", 8, "bytes"),
    ],
    "Layer": [("name", 1, "bytes"), ("blobs", 7, "Blob*")],
    "V1Layer": [("name", 4, "bytes"), ("blobs", 6, "Blob*")],
    "Net": [("layers", 2, "V1Layer*"), ("layer", 100, "Layer*")],
}


def read_caffemodel(path: pathlib.Path) -> FileContents:
    """Reads the blobs of all layers as conv1.weight, conv1.bias, … fc8.bias.

    Raises:
      InputError: a layer's blobs are not a kernel and a bias.
      google.protobuf.message.DecodeError: the file is damaged.
    """
    net = _net_parameter_class()()
    net.ParseFromString(path.read_bytes())
    tensors: dict[str, np.ndarray] = {}
    for layer in (*net.layers, *net.layer):
        if not layer.blobs:
            continue
        name = layer.name.decode("utf-8", "replace")
        if f"{name}.weight" in tensors:
            raise InputError(f"it has two layers named {name[:80]!a}")
        if len(layer.blobs) != 2:
            raise InputError(
                f"its layer {name[:80]!a} has {len(layer.blobs)} blobs; expected a kernel and a "
                "bias"
            )
        rank = 2 if name in DENSE else 4
        tensors[f"{name}.weight"] = _to_array(f"{name}.weight", layer.blobs[0], rank)
        tensors[f"{name}.bias"] = _to_array(f"{name}.bias", layer.blobs[1], 1)
    if not tensors:
        raise InputError("it has no layers with weights; expected a .caffemodel of trained weights")
    return FileContents(tensors, CAFFE)


def _to_array(name: str, blob: Any, rank: int) -> np.ndarray:
    """Converts a blob to an array of at most `rank` dimensions.

    Old blobs always have four dimensions, the superfluous leading ones being 1.
    """
    raw, dtype = (blob.data, "<f4") if blob.data else (blob.double_data, "<f8")
    if blob.HasField("shape"):
        shape = list(blob.shape.dim[:9])
    else:
        shape = [blob.num, blob.channels, blob.height, blob.width]
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    size = int(dtype[-1])
    if len(shape) > 8 or min(shape, default=1) < 0 or math.prod(shape) * size != len(raw):
        raise InputError(
            f"{name[:80]!a} has shape {shape[:8]} and {len(raw) // size} values, which do not match"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


@functools.cache
def _net_parameter_class() -> type:
    """Creates the message class NetParameter."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package=_PACKAGE)
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind in fields:
            field = message.field.add(name=name, number=number)
            field.label = types.LABEL_REPEATED if kind[-1] == "*" else types.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _MESSAGES:
                field.type, field.type_name = types.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(types, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Net"))
